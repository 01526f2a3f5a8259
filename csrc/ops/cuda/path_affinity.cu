#include "ops/cuda/path_affinity.h"
#include "ops/cuda/path_maxima.h"

namespace wsss_fast::cuda {
namespace {

template <int kRoom, typename T>
__global__ void write_affinities(PathTiles tiles, int paths, BoundaryMaps<T> maps, void* affinity) {
    const PathSources& sources = tiles.sources;
    const PathThread thread(tiles);
    const auto boundary = boundary_of<kRoom>(sources, maps, thread);
    const int count = thread.count(sources);
    if (count == 0) return;
    const std::int64_t own = thread.row() * sources.columns + thread.column();
    for_paths(sources.radius, thread.first_path, thread.last_path, [&](int p, int dy, int dx) {
        T most[kPathRows];
        path_maxima(boundary, dy, dx, most);
        const std::int64_t at = (thread.image * paths + p) * sources.of_image() + own;
        for (int i = 0; i < kPathRows; ++i) {
            if (i < count)
                store_element(affinity, maps.element, at + i * sources.columns,
                              affinity_of(most[i]));
        }
    });
}

}  // namespace

template <typename T>
void path_affinity(const PathAffinityParams& params) {
    const PathTiles tiles(
        sources_inside(params.images, params.height, params.width, params.radius));
    const BoundaryMaps<T> maps{params.boundary, params.element};
    with_room<kBoundaryRoom<T>>(params.radius, [&](auto room) {
        launch(&write_affinities<decltype(room)::value, T>, Shape{tiles.blocks()}, params.place,
               tiles, path_count(params.radius), maps, params.affinity);
    });
}

template void path_affinity<float>(const PathAffinityParams&);
template void path_affinity<double>(const PathAffinityParams&);

}  // namespace wsss_fast::cuda
