#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>

namespace wsss_fast {

// The first value, in the order of the inputs, that an op refused.
struct BadValue {
    std::int64_t input;   // which of the op's inputs
    std::int64_t offset;  // flat index into it
    double value;
};

// The answer of an op that reads its values critically: nothing when all was well.
using FiniteResult = std::optional<BadValue>;

// False for NaN, infinities and what is larger than `limit`.
template <typename T>
inline bool within(T value, T limit) {
    return std::abs(value) <= limit;
}

// Whether values[0..count) are all within the limit; without branches, so that it vectorises.
template <typename T>
bool all_within(const T* values, std::int64_t count, T limit) {
    int bad = 0;
    for (std::int64_t i = 0; i < count; ++i) bad |= within(values[i], limit) ? 0 : 1;
    return bad == 0;
}

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

// Labels of any integer type as 32-bit ones. Returns the index of the first that is negative or too
// large, or -1 if there is none.
template <typename Label>
std::int64_t copy_labels(const Label* from, std::int64_t count, std::int32_t* to) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<std::int32_t>(from[i]);
    constexpr auto kLargest = std::numeric_limits<std::int32_t>::max();
    constexpr bool kMayBeLarger = sizeof(Label) > sizeof(kLargest);
    constexpr auto kHigh =
        kMayBeLarger ? static_cast<Label>(kLargest) : std::numeric_limits<Label>::max();
    return first_outside(from, count, Label(0), kHigh);
}

}  // namespace wsss_fast
