#pragma once

#include <cstdint>

#include "ops/cuda/path_gradient.h"

// The gradient of the boundary for any radius: each pixel looks at all paths through it. It takes
// several times as long as path_scatter.h, which serves the radii that there is room for.
namespace wsss_fast::cuda {

// At most 64 MB, or a byte for each source, whichever is more.
template <typename T>
std::int64_t path_gather_workspace_bytes(const PathGradientParams<T>& params);

template <typename T>
void path_gather(const PathGradientParams<T>& params);

}  // namespace wsss_fast::cuda
