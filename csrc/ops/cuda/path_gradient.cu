#include "ops/cuda/path_gather.h"
#include "ops/cuda/path_gradient.h"
#include "ops/cuda/path_scatter.h"

namespace wsss_fast::cuda {

template <typename T>
std::int64_t path_gradient_workspace_bytes(const PathGradientParams<T>& params) {
    return path_scatter_has_room<T>(params.sources.radius) ? path_scatter_workspace_bytes(params)
                                                           : path_gather_workspace_bytes(params);
}

template <typename T>
void path_gradient(const PathGradientParams<T>& params) {
    if (params.sources.images == 0) return;
    if (path_scatter_has_room<T>(params.sources.radius)) {
        path_scatter(params);
    } else {
        path_gather(params);
    }
}

template std::int64_t path_gradient_workspace_bytes(const PathGradientParams<float>&);
template std::int64_t path_gradient_workspace_bytes(const PathGradientParams<double>&);
template void path_gradient(const PathGradientParams<float>&);
template void path_gradient(const PathGradientParams<double>&);

}  // namespace wsss_fast::cuda
