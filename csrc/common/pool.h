#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace wsss_fast {

// Scratch objects that the ranges of a parallel_for hand on to each other: no more are made than
// there are threads, however many ranges.
template <typename Scratch>
class Pool {
  public:
    // Calls body with an object that nobody else uses meanwhile: one that was used before, or what
    // make() returns, a std::unique_ptr<Scratch>.
    template <typename Make, typename Body>
    void with(Make&& make, Body&& body) {
        std::unique_ptr<Scratch> scratch = take();
        if (!scratch) scratch = make();
        body(*scratch);
        const std::lock_guard<std::mutex> lock(mutex_);
        free_.push_back(std::move(scratch));
    }

  private:
    std::unique_ptr<Scratch> take() {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (free_.empty()) return nullptr;
        std::unique_ptr<Scratch> scratch = std::move(free_.back());
        free_.pop_back();
        return scratch;
    }

    std::mutex mutex_;
    std::vector<std::unique_ptr<Scratch>> free_;
};

}  // namespace wsss_fast
