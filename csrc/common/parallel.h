#pragma once

#include <cstdint>
#include <type_traits>

#include "common/cancel.h"

namespace wsss_fast {

// How an op may run: one of these stands in every op's parameter struct.
struct Execution {
    int threads = 1;           // how many threads may work on this call, the caller's included
    Cancel* cancel = nullptr;  // may be null: the call cannot be stopped
};

// For a long loop inside a body, or outside of any: throws Cancelled where the call is to stop.
inline void stop_if_cancelled(const Execution& execution) {
    if (execution.cancel && execution.cancel->poll()) throw Cancelled{};
}

// The same in a loop whose turns are too short to ask each time.
inline void stop_if_cancelled(const Execution& execution, std::int64_t turn) {
    constexpr std::int64_t kAskEvery = 1 << 16;
    if (turn % kAskEvery == 0) stop_if_cancelled(execution);
}

namespace detail {
using ChunkFn = void (*)(void* body, std::int64_t begin, std::int64_t end);
void parallel_for(const Execution& execution, std::int64_t count, std::int64_t grain, void* body,
                  ChunkFn run);
}  // namespace detail

// Calls body(begin, end) for consecutive ranges of [0, count), each of `grain` items (the last one
// shorter). The ranges depend on count and grain alone, never on the number of threads, so a body
// whose ranges are independent, or that reduces per range and combines the ranges in order, gives
// the same bits at any thread count. Runs in the caller's thread when there is one range or one
// thread. An exception from body, or Cancelled, comes out in the caller after every thread has
// stopped. Nested calls and calls from several threads at once are fine.
template <typename Body>
void parallel_for(const Execution& execution, std::int64_t count, std::int64_t grain, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    detail::parallel_for(execution, count, grain, const_cast<std::remove_const_t<Plain>*>(&body),
                         [](void* b, std::int64_t begin, std::int64_t end) {
                             (*static_cast<Plain*>(b))(begin, end);
                         });
}

}  // namespace wsss_fast
