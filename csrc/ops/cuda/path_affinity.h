#pragma once

#include <cstdint>

#include "common/cuda/element_type.h"
#include "common/cuda/place.h"

// Affinities along paths on the GPU; see ops/path_affinity.h. Computed in T.
namespace wsss_fast::cuda {

struct PathAffinityParams {
    const void* boundary = nullptr;       // [images][height][width]
    void* affinity = nullptr;             // as in ops/path_affinity.h; NaN where no boundary is
    Element element = Element::kFloat32;  // of both
    std::int64_t images = 0;              // may be 0
    std::int64_t height = 0;              // at least radius
    std::int64_t width = 0;               // at least 2 radius - 1
    int radius = 0;                       // from 2 to 64
    Place place;                          // device and stream
};

// Its gradient is path_gradient() of -1 times that of the affinity.
template <typename T>
void path_affinity(const PathAffinityParams& params);

}  // namespace wsss_fast::cuda
