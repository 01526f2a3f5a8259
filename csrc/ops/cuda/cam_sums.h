#pragma once

#include <cstdint>
#include <vector>

#include "ops/cuda/cam_fusion.h"

// Resampling is linear, so inputs of one size are added before it, at their own small resolution,
// once for all output sizes and for both passes over the output.
namespace wsss_fast::cuda {

// Inputs of one size, added into one map.
struct CamSize {
    std::int32_t height;
    std::int32_t width;
    std::int64_t offset;              // of that map within the sums of one wanted map
    std::vector<std::size_t> inputs;  // which ones, in their order
};

// In the order of their first inputs.
struct CamSizes {
    std::vector<CamSize> list;
    std::int64_t elements = 0;  // sums of one wanted map

    explicit CamSizes(const std::vector<SizedInput>& inputs);
};

// sums: [wanted maps][elements], as the CPU makes them, to the bit.
template <typename T>
void add_cams(const CamFusionParams<T>& params, const CamSizes& sizes, T* sums);

}  // namespace wsss_fast::cuda
