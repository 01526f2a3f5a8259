#pragma once

#include <cstdint>

#include "common/cuda/element_type.h"
#include "common/cuda/place.h"
#include "ops/cuda/path_sources.h"

namespace wsss_fast::cuda {

// The gradient of the boundary, from that of the largest boundary value on each path. It goes to
// the first pixel that holds the maximum, as in ops/path_affinity.h.
template <typename T>
struct PathGradientParams {
    PathSources sources{};                 // where paths begin
    const void* boundary = nullptr;        // [images][height][width]
    Element element = Element::kFloat32;   // of the boundary
    const void* grad_maxima = nullptr;     // [images][paths][rows][stride]; 0 for paths that leave
    Element grad_element = kElementOf<T>;  // of the gradient of the maxima
    std::int64_t stride = 0;     // of a row of the gradient of the maxima, at least columns
    T scale = 1;                 // what that gradient is taken times
    T* grad_boundary = nullptr;  // [images][height][width], added to; NaN where no boundary is
    void* workspace = nullptr;   // of path_gradient_workspace_bytes()
    Place place;                 // device and stream
};

// At most 64 MB, or what path_scatter.h or path_gather.h take at least.
template <typename T>
std::int64_t path_gradient_workspace_bytes(const PathGradientParams<T>& params);

// The same bits for any number of images, and from run to run.
template <typename T>
void path_gradient(const PathGradientParams<T>& params);

}  // namespace wsss_fast::cuda
