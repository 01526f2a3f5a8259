#include <algorithm>

#include "ops/cuda/path_gather.h"
#include "ops/cuda/path_maxima.h"

namespace wsss_fast::cuda {
namespace {

// Which pixel of its path holds the maximum, for some paths of all sources; paths have 141 at most.
// [paths][images][rows][columns]
using Position = std::uint8_t;

template <int kRoom, typename T>
__global__ void find_positions(PathTiles tiles, BoundaryMaps<T> maps, Position* positions) {
    const PathSources& sources = tiles.sources;
    const PathThread thread(tiles);
    const auto boundary = boundary_of<kRoom>(sources, maps, thread);
    const int count = thread.count(sources);
    if (count == 0) return;
    Position* const own = positions + thread.image * sources.of_image() +
                          thread.row() * sources.columns + thread.column();
    const std::int64_t plane = sources.images * sources.of_image();
    for_paths(sources.radius, thread.first_path, thread.last_path, [&](int p, int dy, int dx) {
        T most[kPathRows];
        int first[kPathRows];
        int number = 0;
        first_path_maxima(boundary, dy, dx, most, first, [&](int, int) { return number++; });
        Position* const out = own + (p - tiles.first_path) * plane;
        for (int i = 0; i < kPathRows; ++i) {
            if (i < count) out[i * sources.columns] = static_cast<Position>(first[i]);
        }
    });
}

// Each pixel asks the sources that reach it by any path whether it is the one that their gradient
// goes to, always in the same order.
template <typename T>
__global__ void gather_gradients(PathGradientParams<T> params, int paths, int first_path,
                                 int last_path, const Position* positions) {
    const PathSources& sources = params.sources;
    const std::int64_t number = thread_number();
    const PathMapPixel pixel(sources, number);
    if (pixel.image >= sources.images) return;

    const T boundary = load_element<T>(params.boundary, params.element, number);
    T sum = is_boundary(boundary) ? params.grad_boundary[number] : static_cast<T>(NAN);
    const std::int64_t plane = sources.images * sources.of_image();
    const Position* own =
        positions + pixel.image * sources.of_image() + pixel.row * sources.columns + pixel.column;
    for_paths(sources.radius, first_path, last_path, [&](int p, int dy, int dx) {
        const std::int64_t grads = (pixel.image * paths + p) * sources.rows;
        int position = 0;
        for_path_rows(dy, dx, [&](int y, int left, int right) {
            const std::int64_t from_row = pixel.row - y;
            const bool inside = from_row >= 0 && from_row < sources.rows;
            for (int x = left; x <= right; ++x, ++position) {
                const std::int64_t from = pixel.column - x;
                if (!inside || from < 0 || from >= sources.columns) continue;
                if (own[-y * sources.columns - x] != position) continue;
                sum += params.scale * load_element<T>(params.grad_maxima, params.grad_element,
                                                      (grads + from_row) * params.stride + from);
            }
        });
        own += plane;
    });
    params.grad_boundary[number] = sum;
}

// How many paths go through at a time.
int paths_at_once(const PathSources& sources) {
    constexpr std::int64_t kMost = std::int64_t{64} << 20;
    const std::int64_t plane = std::max<std::int64_t>(1, sources.images * sources.of_image());
    return static_cast<int>(std::clamp<std::int64_t>(kMost / plane, 1, path_count(sources.radius)));
}

}  // namespace

template <typename T>
std::int64_t path_gather_workspace_bytes(const PathGradientParams<T>& params) {
    return paths_at_once(params.sources) * params.sources.images * params.sources.of_image() *
           static_cast<std::int64_t>(sizeof(Position));
}

template <typename T>
void path_gather(const PathGradientParams<T>& params) {
    const PathSources& sources = params.sources;
    auto* const positions = static_cast<Position*>(params.workspace);
    mark_unset(positions, path_gather_workspace_bytes(params));
    const int paths = path_count(sources.radius);
    const int step = paths_at_once(sources);
    const BoundaryMaps<T> maps{params.boundary, params.element};
    for (int first = 0; first < paths; first += step) {
        const int last = std::min(paths, first + step);
        const PathTiles tiles(sources, first, last);
        with_room<kBoundaryRoom<T>>(sources.radius, [&](auto room) {
            launch(&find_positions<decltype(room)::value, T>, Shape{tiles.blocks()}, params.place,
                   tiles, maps, positions);
        });
        launch(&gather_gradients<T>, for_each(sources.images * sources.height * sources.width),
               params.place, params, paths, first, last, positions);
    }
}

template std::int64_t path_gather_workspace_bytes(const PathGradientParams<float>&);
template std::int64_t path_gather_workspace_bytes(const PathGradientParams<double>&);
template void path_gather(const PathGradientParams<float>&);
template void path_gather(const PathGradientParams<double>&);

}  // namespace wsss_fast::cuda
