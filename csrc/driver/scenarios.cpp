#include "driver/scenarios.h"

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "common/cancel.h"
#include "driver/report.h"

namespace wsss_fast::driver {
namespace {

void run_and_compare(const Case& of, const Bytes& expected, int threads, const std::string& how) {
    const Bytes got = of.run({threads, nullptr});
    expect(got == expected, of.name + ", " + how + ", " + std::to_string(threads) +
                                " threads: " + "the bits of one thread");
}

// Calls again until it is stopped: a short call may be over before it is asked. False if it never
// is.
bool is_stopped(const Case& of, int threads) {
    using Clock = std::chrono::steady_clock;
    constexpr std::chrono::minutes kPatience{5};
    Cancel cancel([] { return true; });
    const auto begin = Clock::now();
    while (Clock::now() - begin < kPatience) {
        try {
            of.run({threads, &cancel});
        } catch (const Cancelled&) {
            return true;
        }
    }
    return false;
}

}  // namespace

Results alone(const Cases& cases) {
    Results results;
    for (const Case& of : cases) results.push_back(of.run({1, nullptr}));
    return results;
}

void check_thread_counts(const Cases& cases, const Results& expected) {
    for (std::size_t i = 0; i < cases.size(); ++i) {
        for (const int threads : {2, 4, 16}) {
            run_and_compare(cases[i], expected[i], threads, "by itself");
        }
    }
}

void check_callers(const Cases& cases, const Results& expected, int callers) {
    std::vector<std::thread> running;
    for (int caller = 0; caller < callers; ++caller) {
        running.emplace_back([&, caller] {
            const std::size_t first =
                cases.size() * static_cast<std::size_t>(caller) / static_cast<std::size_t>(callers);
            for (std::size_t i = 0; i < cases.size(); ++i) {
                const std::size_t at = (first + i) % cases.size();
                run_and_compare(cases[at], expected[at], 1 + caller, "beside others");
            }
        });
    }
    for (std::thread& caller : running) caller.join();
}

void check_fork(const Cases& cases, const Results& expected) {
    const pid_t child = fork();
    if (child == 0) {
        // What hangs is ended by the alarm.
        alarm(900);
        const std::int64_t before = failures();
        for (std::size_t i = 0; i < cases.size(); ++i) {
            run_and_compare(cases[i], expected[i], 4, "in a forked child");
        }
        _exit(failures() == before ? 0 : 1);
    }
    int status = 0;
    const bool waited = child > 0 && waitpid(child, &status, 0) == child;
    expect(waited && WIFEXITED(status) && WEXITSTATUS(status) == 0, "a forked child runs all ops");
    for (std::size_t i = 0; i < cases.size(); ++i) {
        run_and_compare(cases[i], expected[i], 4, "after a fork");
    }
}

void check_cancelling(const Cases& cases, const Results& expected) {
    for (std::size_t i = 0; i < cases.size(); ++i) {
        const int threads = i % 2 == 0 ? 4 : 1;
        expect(is_stopped(cases[i], threads), cases[i].name + ": it can be stopped");
        run_and_compare(cases[i], expected[i], threads, "after it was stopped");
    }
}

}  // namespace wsss_fast::driver
