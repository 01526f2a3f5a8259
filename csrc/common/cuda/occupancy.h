#pragma once

#include <cstdint>

#include "common/cuda/launch.h"

namespace wsss_fast::cuda {

// How many blocks of a kernel run on the place's device at the same time, which Together::kGrid
// must not exceed; 0 where the device cannot run a grid together at all. On the host a few, so that
// tests see each of them do several rounds.
template <typename... Parameters>
std::int64_t blocks_at_once([[maybe_unused]] void (*kernel)(Parameters...),
                            [[maybe_unused]] int threads, [[maybe_unused]] const Place& place) {
#if defined(WSSS_FAST_CUDA_ON_HOST)
    return 3;
#else
    const OnDevice on_device(place);
    int together = 0;
    int processors = 0;
    int blocks = 0;
    check(cudaDeviceGetAttribute(&together, cudaDevAttrCooperativeLaunch, place.device),
          "asking for cooperative launches");
    if (together == 0) return 0;
    check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, place.device),
          "asking for the number of processors");
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, 0),
          "asking how many blocks run at once");
    return std::int64_t{blocks} * processors;
#endif
}

}  // namespace wsss_fast::cuda
