#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

#include "common/cuda/device_wide.h"
#include "common/cuda/launch.h"

namespace wsss_fast::cuda {
namespace {

cudaError_t sort(void* scratch, std::size_t& bytes, cub::DoubleBuffer<std::uint64_t>& keys,
                 cub::DoubleBuffer<std::uint32_t>& numbers, std::int64_t count, int bits,
                 cudaStream_t stream) {
    return cub::DeviceRadixSort::SortPairs(scratch, bytes, keys, numbers, count, 0, bits, stream);
}

cudaError_t sum(void* scratch, std::size_t& bytes, std::int32_t* values, std::int64_t count,
                cudaStream_t stream) {
    return cub::DeviceScan::InclusiveSum(scratch, bytes, values, values, count, stream);
}

}  // namespace

std::int64_t sort_scratch_bytes(std::int64_t count, int bits) {
    cub::DoubleBuffer<std::uint64_t> keys;
    cub::DoubleBuffer<std::uint32_t> numbers;
    std::size_t bytes = 0;
    check(sort(nullptr, bytes, keys, numbers, count, bits, nullptr), "sizing a sort");
    return static_cast<std::int64_t>(bytes);
}

void sort_pairs(SortedPairs& pairs, std::int64_t count, int bits, void* scratch,
                std::int64_t scratch_bytes, const Place& place) {
    const OnDevice on_device(place);
    cub::DoubleBuffer<std::uint64_t> keys(pairs.keys, pairs.other_keys);
    cub::DoubleBuffer<std::uint32_t> numbers(pairs.numbers, pairs.other_numbers);
    auto bytes = static_cast<std::size_t>(scratch_bytes);
    check(sort(scratch, bytes, keys, numbers, count, bits, stream_of(place)), "sorting");
    pairs = {keys.Current(), keys.Alternate(), numbers.Current(), numbers.Alternate()};
}

std::int64_t sum_scratch_bytes(std::int64_t count) {
    std::size_t bytes = 0;
    check(sum(nullptr, bytes, nullptr, count, nullptr), "sizing a running sum");
    return static_cast<std::int64_t>(bytes);
}

void running_sum(std::int32_t* values, std::int64_t count, void* scratch,
                 std::int64_t scratch_bytes, const Place& place) {
    const OnDevice on_device(place);
    auto bytes = static_cast<std::size_t>(scratch_bytes);
    check(sum(scratch, bytes, values, count, stream_of(place)), "summing");
}

}  // namespace wsss_fast::cuda
