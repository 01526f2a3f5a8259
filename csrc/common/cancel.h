#pragma once

#include <atomic>
#include <chrono>

namespace wsss_fast {

// Lets a long call be stopped from outside. The caller's thread polls now and then (a binding asks
// Python for signals there); every thread of the call sees the flag and stops taking new work.
class Cancel {
  public:
    // Asked by the calling thread only, at most once in `kPollEvery`; true means stop.
    using PollFunction = bool (*)();

    explicit Cancel(PollFunction ask) : ask_(ask) {}

    bool requested() const { return flag_.load(std::memory_order_relaxed); }

    // For the calling thread: polls if it is time to, and tells whether to stop.
    bool poll() {
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ >= kPollEvery) {
            last_ = now;
            if (ask_()) flag_.store(true, std::memory_order_relaxed);
        }
        return requested();
    }

    static constexpr std::chrono::milliseconds kPollEvery{50};

  private:
    PollFunction ask_;
    std::atomic<bool> flag_{false};
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Thrown out of an op that was told to stop; its outputs are then unspecified.
struct Cancelled {};

}  // namespace wsss_fast
