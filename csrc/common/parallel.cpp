#include "common/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace wsss_fast::detail {
namespace {

// A short wait that needs no system call: an op is a row of parallel_fors, and going to sleep and
// being woken between two of them costs as much as the shorter ones take. `ready` is asked some
// thousand times, for tens of microseconds.
template <typename Ready>
void spin(Ready&& ready) {
    constexpr int kTurns = 1 << 11;
    for (int turn = 0; turn < kTurns && !ready(); ++turn) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
    }
}

// One parallel_for under way. Lives on the caller's stack; helpers touch it only between join() and
// leave(), and the caller waits until nobody is left.
struct Job {
    ChunkFn run;
    void* body;
    std::int64_t count;
    std::int64_t grain;
    Cancel* cancel;
    int seats;                    // helpers that may still join (guarded by the pool's mutex)
    std::atomic<int> helpers{0};  // helpers inside (changed under the pool's mutex)
    std::atomic<std::int64_t> next{0};
    std::atomic<bool> stop{false};
    std::exception_ptr error{};  // the first one (guarded by `stop` being set once)

    void fail(std::exception_ptr e) {
        if (!stop.exchange(true)) error = std::move(e);
    }

    // Takes ranges until there are none.
    void work() {
        try {
            while (!stop.load(std::memory_order_relaxed)) {
                if (cancel && cancel->poll()) throw Cancelled{};
                const std::int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
                if (begin >= count) return;
                run(body, begin, std::min(begin + grain, count));
            }
        } catch (...) {
            fail(std::current_exception());
        }
    }
};

// What a poll for signals may do, as Python runs handlers in it: fork. The child is then alone in
// the middle of a call, without the helpers and what they had in hand.
struct ForkedInside : std::runtime_error {
    ForkedInside()
        : std::runtime_error(
              "the process was forked inside this call, by a signal handler: its child cannot end "
              "the call, as the threads at work on it are the parent's") {}
};

// Counts the forks above this process. Helpers of before one are gone.
std::atomic<unsigned> forks{0};

// Threads that wait for jobs. Started when first needed, never more than were ever asked for, and
// never joined: the process may exit while they sleep.
class Pool {
  public:
    void run(Job& job) {
        const int wanted = job.seats;
        const unsigned forks_before = forks.load(std::memory_order_relaxed);
        // Before anything of the pool is touched: its mutex may be locked for ever in a child.
        const auto stop_if_forked = [&] {
            if (forks.load(std::memory_order_relaxed) != forks_before) throw ForkedInside();
        };
        {
            std::lock_guard<std::mutex> lock(mutex_);
            grow(wanted);
            jobs_.push_back(&job);
            generation_.fetch_add(1, std::memory_order_release);
        }
        for (int i = 0; i < wanted; ++i) wake_.notify_one();
        job.work();
        stop_if_forked();
        spin([&] { return job.helpers.load(std::memory_order_acquire) == 0; });
        std::unique_lock<std::mutex> lock(mutex_);
        jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), &job), jobs_.end());
        while (job.helpers > 0) {
            // Helpers may be inside a long range still: keep listening for a cancel meanwhile.
            left_.wait_for(lock, Cancel::kPollEvery);
            if (job.helpers > 0 && job.cancel) {
                lock.unlock();
                if (job.cancel->poll()) job.fail(std::make_exception_ptr(Cancelled{}));
                stop_if_forked();
                lock.lock();
            }
        }
    }

  private:
    void grow(int wanted) {
        try {
            while (threads_ < wanted) {
                std::thread([this] { serve(); }).detach();
                ++threads_;
            }
        } catch (const std::system_error&) {
            // The system refuses more threads: those there are, and the caller, do the work.
        }
    }

    void serve() {
        std::unique_lock<std::mutex> lock(mutex_);
        bool spun = false;  // since it was last at work
        for (;;) {
            Job* job = nullptr;
            for (Job* candidate : jobs_) {
                if (candidate->seats > 0 && candidate->next.load() < candidate->count) {
                    job = candidate;
                    break;
                }
            }
            if (!job && !spun) {
                const unsigned seen = generation_.load(std::memory_order_relaxed);
                lock.unlock();
                spin([&] { return generation_.load(std::memory_order_acquire) != seen; });
                lock.lock();
                spun = true;
                continue;
            }
            if (!job) {
                wake_.wait(lock);
                continue;
            }
            spun = false;
            --job->seats;
            ++job->helpers;
            lock.unlock();
            job->work();
            lock.lock();
            if (--job->helpers == 0) left_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable left_;
    std::deque<Job*> jobs_;
    int threads_ = 0;
    std::atomic<unsigned> generation_{0};  // how many jobs there have been
};

std::atomic<Pool*> the_pool{nullptr};

#if !defined(_WIN32)
// A forked child has none of the parent's threads, and its copy of the mutex may be locked for
// ever: it starts over with a pool of its own. Registered as the library is loaded, before there is
// a pool that a fork in another thread could copy.
[[maybe_unused]] const int at_fork = pthread_atfork(nullptr, nullptr, [] {
    the_pool.store(nullptr, std::memory_order_release);
    forks.fetch_add(1, std::memory_order_relaxed);
});
#endif

Pool& pool() {
    Pool* current = the_pool.load(std::memory_order_acquire);
    if (current) return *current;
    // Never deleted: sleeping threads refer to it until the process ends.
    auto* fresh = new Pool;
    if (the_pool.compare_exchange_strong(current, fresh)) return *fresh;
    delete fresh;
    return *current;
}

}  // namespace

void parallel_for(const Execution& execution, std::int64_t count, std::int64_t grain, void* body,
                  ChunkFn run) {
    if (count <= 0) return;
    grain = std::clamp<std::int64_t>(grain, 1, count);
    const std::int64_t ranges = (count - 1) / grain + 1;
    const int helpers = static_cast<int>(std::min<std::int64_t>(execution.threads, ranges)) - 1;
    Job job{run, body, count, grain, execution.cancel, std::max(helpers, 0)};
    if (helpers > 0) {
        pool().run(job);
    } else {
        job.work();
    }
    if (job.error) std::rethrow_exception(job.error);
}

}  // namespace wsss_fast::detail
