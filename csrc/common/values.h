#pragma once

#include <algorithm>
#include <cstdint>

namespace wsss_fast {

// The index of the first value that is not in [low, high], NaN included, or -1 if there is none.
// With the largest finite numbers as bounds it finds NaN and infinities.
template <typename T>
std::int64_t first_outside(const T* values, std::int64_t count, T low, T high) {
    constexpr std::int64_t kBlock = 4096;
    for (std::int64_t begin = 0; begin < count; begin += kBlock) {
        const std::int64_t end = std::min(begin + kBlock, count);
        // Counting has no early way out, so it vectorises; the search is for bad blocks only.
        int outside = 0;
        for (std::int64_t i = begin; i < end; ++i) {
            outside += (values[i] >= low ? 0 : 1) + (values[i] <= high ? 0 : 1);
        }
        if (outside == 0) continue;
        for (std::int64_t i = begin; i < end; ++i) {
            if (!(values[i] >= low && values[i] <= high)) return i;
        }
    }
    return -1;
}

}  // namespace wsss_fast
