#pragma once

#include <cstdint>

#include "common/cuda/place.h"

// What the whole device does together. CUB on a device, the standard library in csrc/testing.
namespace wsss_fast::cuda {

// Pairs of a key and a number in two buffers of which `keys` and `numbers` hold them: sorting moves
// them back and forth.
struct SortedPairs {
    std::uint64_t* keys;
    std::uint64_t* other_keys;
    std::uint32_t* numbers;
    std::uint32_t* other_numbers;
};

// Of the current device.
std::int64_t sort_scratch_bytes(std::int64_t count, int bits);

// Sorts by the lowest `bits` bits of the keys, stably. Afterwards `keys` and `numbers` are where
// the result is.
void sort_pairs(SortedPairs& pairs, std::int64_t count, int bits, void* scratch,
                std::int64_t scratch_bytes, const Place& place);

// Of the current device.
std::int64_t sum_scratch_bytes(std::int64_t count);

// values[i] becomes the sum of values[0..i].
void running_sum(std::int32_t* values, std::int64_t count, void* scratch,
                 std::int64_t scratch_bytes, const Place& place);

}  // namespace wsss_fast::cuda
