#pragma once

#include <atomic>
#include <chrono>
#include <thread>

namespace wsss_fast {

// Lets a long call be stopped from outside. The thread that makes it asks now and then (a binding
// asks Python for signals); every thread of the call sees the flag and stops taking new work.
class Cancel {
  public:
    // Asked by the owning thread only, at most once in `kPollEvery`; true means stop.
    using PollFunction = bool (*)();

    explicit Cancel(PollFunction ask) : ask_(ask) {}

    bool requested() const { return flag_.load(std::memory_order_relaxed); }

    // Tells whether to stop. In the thread that made this object it also asks, if it is time to;
    // but no more once the answer was yes, which the asker may not expect to be asked again.
    bool poll() {
        if (requested() || std::this_thread::get_id() != owner_) return requested();
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
    std::thread::id owner_ = std::this_thread::get_id();
    std::atomic<bool> flag_{false};
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Thrown out of an op that was told to stop; its outputs are then unspecified.
struct Cancelled {};

}  // namespace wsss_fast
