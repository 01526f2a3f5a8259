#include <algorithm>
#include <cstddef>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "common/cuda/device_wide.h"
#include "testing/memory_on_host.h"

namespace wsss_fast::cuda {
namespace {

// As much as the arrays themselves: a caller that lends less is stopped.
void use_scratch(void* scratch, std::int64_t expected, std::int64_t got) {
    if (got < expected) {
        throw std::runtime_error("scratch: expected " + std::to_string(expected) + " bytes, got " +
                                 std::to_string(got));
    }
    testing::mark_unset(scratch, got);
}

}  // namespace

std::int64_t sort_scratch_bytes(std::int64_t count, int) {
    return count * static_cast<std::int64_t>(sizeof(std::uint64_t)) + 1;
}

void sort_pairs(SortedPairs& pairs, std::int64_t count, int bits, void* scratch,
                std::int64_t scratch_bytes, const Place&) {
    use_scratch(scratch, sort_scratch_bytes(count, bits), scratch_bytes);
    const std::uint64_t mask = bits < 64 ? (std::uint64_t{1} << bits) - 1 : ~std::uint64_t{0};
    std::vector<std::int64_t> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        return (pairs.keys[a] & mask) < (pairs.keys[b] & mask);
    });
    for (std::int64_t i = 0; i < count; ++i) {
        pairs.other_keys[i] = pairs.keys[order[static_cast<std::size_t>(i)]];
        pairs.other_numbers[i] = pairs.numbers[order[static_cast<std::size_t>(i)]];
    }
    // The other buffers hold the result: a caller that goes on with the first ones is seen.
    testing::mark_unset(pairs.keys, count * static_cast<std::int64_t>(sizeof *pairs.keys));
    testing::mark_unset(pairs.numbers, count * static_cast<std::int64_t>(sizeof *pairs.numbers));
    std::swap(pairs.keys, pairs.other_keys);
    std::swap(pairs.numbers, pairs.other_numbers);
}

std::int64_t sum_scratch_bytes(std::int64_t count) {
    return count * static_cast<std::int64_t>(sizeof(std::int32_t)) + 1;
}

void running_sum(std::int32_t* values, std::int64_t count, void* scratch,
                 std::int64_t scratch_bytes, const Place&) {
    use_scratch(scratch, sum_scratch_bytes(count), scratch_bytes);
    std::partial_sum(values, values + count, values);
}

}  // namespace wsss_fast::cuda
