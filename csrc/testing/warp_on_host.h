#pragma once

#include <cstdint>
#include <cstring>

#include "testing/atomics_on_host.h"
#include "testing/threads_on_host.h"

// Barriers, shuffles and votes of CUDA's threads. __activemask is not offered: what it gives
// depends on how the compiler laid out the branches before it.

namespace wsss_fast::testing {

template <typename T>
T shuffle(Meeting meeting, unsigned mask, T value, int source) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t));
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = meet_lanes(meeting, mask, bits, source);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename T>
using Shuffled =
    OneOf<T, int, unsigned, long, unsigned long, long long, unsigned long long, float, double>;

}  // namespace wsss_fast::testing

inline void __syncthreads() { wsss_fast::testing::meet(wsss_fast::testing::Meeting::kSyncthreads); }

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) {
    wsss_fast::testing::meet_lanes(wsss_fast::testing::Meeting::kSyncwarp, mask, 0, 0);
}

template <typename T>
wsss_fast::testing::Shuffled<T> __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    const wsss_fast::testing::Segment segment(width);
    return wsss_fast::testing::shuffle(wsss_fast::testing::Meeting::kShfl, mask, value,
                                       segment.begin + (source & (width - 1)));
}

template <typename T>
wsss_fast::testing::Shuffled<T> __shfl_up_sync(unsigned mask, T value, unsigned delta,
                                               int width = 32) {
    const wsss_fast::testing::Segment segment(width);
    const auto source = std::int64_t{segment.lane} - delta;
    return wsss_fast::testing::shuffle(
        wsss_fast::testing::Meeting::kShflUp, mask, value,
        source < segment.begin ? segment.lane : static_cast<int>(source));
}

template <typename T>
wsss_fast::testing::Shuffled<T> __shfl_down_sync(unsigned mask, T value, unsigned delta,
                                                 int width = 32) {
    const wsss_fast::testing::Segment segment(width);
    const auto source = std::int64_t{segment.lane} + delta;
    return wsss_fast::testing::shuffle(
        wsss_fast::testing::Meeting::kShflDown, mask, value,
        source >= segment.begin + width ? segment.lane : static_cast<int>(source));
}

template <typename T>
wsss_fast::testing::Shuffled<T> __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    const wsss_fast::testing::Segment segment(width);
    const int source = segment.lane ^ bits;
    return wsss_fast::testing::shuffle(
        wsss_fast::testing::Meeting::kShflXor, mask, value,
        source < 0 || source >= segment.begin + width ? segment.lane : source);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
    return static_cast<unsigned>(wsss_fast::testing::meet_lanes(
        wsss_fast::testing::Meeting::kBallot, mask, predicate != 0, 0));
}

inline int __any_sync(unsigned mask, int predicate) {
    return wsss_fast::testing::meet_lanes(wsss_fast::testing::Meeting::kAny, mask, predicate != 0,
                                          0) != 0;
}

inline int __all_sync(unsigned mask, int predicate) {
    return wsss_fast::testing::meet_lanes(wsss_fast::testing::Meeting::kAll, mask, predicate != 0,
                                          0) == mask;
}
