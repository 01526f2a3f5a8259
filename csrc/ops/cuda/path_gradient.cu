// Which pixel a path's gradient goes to is found once for each path, as its position on the path;
// then each pixel gathers from all paths that go through it, in a fixed order. A scatter would need
// atomics, and with them its bits would depend on the order of threads.
//
// At radius 10 paths have 2,134 pixels, so that both kernels read about as many numbers a pixel,
// nearly all of them from the first cache: for 32 maps of 128 x 128 some 0.2 ms each on an H200.
#include <algorithm>
#include <vector>

#include "common/cuda/divide.h"
#include "common/cuda/element.h"
#include "common/cuda/launch.h"
#include "common/paths.h"
#include "ops/cuda/path_gradient.h"
#include "ops/cuda/path_pixels.h"

namespace wsss_fast::cuda {
namespace {

using Position = std::uint8_t;
constexpr int kNoPosition = 255;  // longer paths there are none: radius 64 has up to 190 pixels

// Paths that are handled together: their positions go to the workspace.
constexpr int kMostPaths = 256;
constexpr std::int64_t kMostBytes = std::int64_t{64} << 20;

struct PathGroup {
    Offset to[kMostPaths];
    int count;
    std::int64_t first;  // number of to[0] among all
    std::int64_t paths;  // of all groups
};

template <typename T>
__global__ void find_positions(PathGradientParams<T> params, PathGroup group, Position* positions) {
    const PathSources& of = params.sources;
    const std::int64_t number = thread_number();
    const std::int64_t sources = of.images * of.rows * of.columns;
    if (number >= sources) return;
    const Quotient of_row = divide(number, of.columns);
    const Quotient of_image = divide(of_row.whole, of.rows);
    const std::int64_t y = of_image.rest;
    const std::int64_t x = of.first_x + of_row.rest;
    const std::int64_t own = (of_image.whole * of.height + y) * of.width + x;
    for (int p = 0; p < group.count; ++p) {
        const Offset to = group.to[p];
        int first = kNoPosition;
        if (y + to.dy < of.height && x + to.dx >= 0 && x + to.dx < of.width) {
            T most = T(-1);
            int k = 0;
            for_path_pixels(to.dy, to.dx, [&](int dy, int dx) {
                const T value =
                    load_boundary<T>(params.boundary, params.element, own + dy * of.width + dx);
                const bool more = value > most || (value != value && most == most);
                most = more ? value : most;
                first = more ? k : first;
                ++k;
            });
        }
        positions[p * sources + number] = static_cast<Position>(first);
    }
}

template <typename T>
__global__ void gather(PathGradientParams<T> params, PathGroup group, const Position* positions) {
    const PathSources& of = params.sources;
    const std::int64_t number = thread_number();
    if (number >= of.images * of.height * of.width) return;
    const Quotient of_row = divide(number, of.width);
    const Quotient of_image = divide(of_row.whole, of.height);
    const std::int64_t sources = of.images * of.rows * of.columns;
    T sum = T(0);
    for (int p = 0; p < group.count; ++p) {
        const Offset to = group.to[p];
        const std::int64_t plane = of_image.whole * group.paths + group.first + p;
        int k = 0;
        for_path_pixels(to.dy, to.dx, [&](int dy, int dx) {
            const std::int64_t row = of_image.rest - dy;
            const std::int64_t column = of_row.rest - dx - of.first_x;
            if (row >= 0 && row < of.rows && column >= 0 && column < of.columns) {
                const std::int64_t source = (of_image.whole * of.rows + row) * of.columns + column;
                if (positions[p * sources + source] == k)
                    sum += params.grad_maxima[(plane * of.rows + row) * params.stride + column];
            }
            ++k;
        });
    }
    params.grad_boundary[number] += sum;
}

template <typename T>
std::int64_t sources_of(const PathGradientParams<T>& params) {
    return params.sources.images * params.sources.rows * params.sources.columns;
}

// Of a group that is not the last.
template <typename T>
std::int64_t paths_at_once(const PathGradientParams<T>& params) {
    const std::int64_t sources = std::max<std::int64_t>(sources_of(params), 1);
    return std::clamp<std::int64_t>(kMostBytes / sources, 1, kMostPaths);
}

}  // namespace

template <typename T>
std::int64_t path_gradient_workspace_bytes(const PathGradientParams<T>& params) {
    const auto paths = static_cast<std::int64_t>(Paths(params.sources.radius).size());
    return std::min(paths, paths_at_once(params)) * sources_of(params);
}

template <typename T>
void path_gradient(const PathGradientParams<T>& params) {
    if (sources_of(params) == 0) return;
    const std::vector<Offset> offsets = Paths(params.sources.radius).offsets();
    auto* positions = static_cast<Position*>(params.workspace);
    PathGroup group{};
    group.paths = static_cast<std::int64_t>(offsets.size());
    for (; group.first < group.paths; group.first += group.count) {
        group.count = static_cast<int>(std::min(paths_at_once(params), group.paths - group.first));
        std::copy_n(offsets.begin() + group.first, group.count, group.to);
        launch(&find_positions<T>, for_each(sources_of(params)), params.place, params, group,
               positions);
        const PathSources& of = params.sources;
        launch(&gather<T>, for_each(of.images * of.height * of.width), params.place, params, group,
               static_cast<const Position*>(positions));
    }
}

template std::int64_t path_gradient_workspace_bytes(const PathGradientParams<float>&);
template std::int64_t path_gradient_workspace_bytes(const PathGradientParams<double>&);
template void path_gradient(const PathGradientParams<float>&);
template void path_gradient(const PathGradientParams<double>&);

}  // namespace wsss_fast::cuda
