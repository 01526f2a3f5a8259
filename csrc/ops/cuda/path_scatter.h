#pragma once

#include <cstdint>

#include "ops/cuda/path_gradient.h"

// The gradient of the boundary for radii whose sums fit into shared memory: each source adds to the
// pixels that hold the maxima of its paths.
namespace wsss_fast::cuda {

template <typename T>
bool path_scatter_has_room(int radius);

// At most 32 MB, or what one part of the paths takes: two numbers and some for each source.
template <typename T>
std::int64_t path_scatter_workspace_bytes(const PathGradientParams<T>& params);

template <typename T>
void path_scatter(const PathGradientParams<T>& params);

}  // namespace wsss_fast::cuda
