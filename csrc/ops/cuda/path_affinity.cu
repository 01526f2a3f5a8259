#include <algorithm>
#include <cmath>

#include "common/cuda/element.h"
#include "ops/cuda/path_affinity.h"
#include "ops/cuda/path_list.h"
#include "ops/cuda/path_maxima.h"

namespace wsss_fast::cuda {
namespace {

// Up to this radius a block goes along a list of paths, which takes 15 KB with the boundary, twice
// that in double precision; beyond, it finds out where they go as it goes along them.
constexpr int kListedRadius = 14;

template <typename T>
struct ListedTile {
    static constexpr int kStride = kPathColumns + 2 * (kListedRadius - 1);

    PathList<kListedRadius> list;
    T boundary[(kPathTileRows + kListedRadius - 1) * kStride];
};

// Affinities of one list of paths for each block.
template <typename T, Element kElement>
__global__ void __launch_bounds__(kThreads)
    write_listed(PathTiles tiles, int paths, BoundaryMaps<T> maps, void* affinity) {
    constexpr int kStride = ListedTile<T>::kStride;
    auto& tile = block_shared<ListedTile<T>>();
    const PathSources& sources = tiles.sources;
    const PathThread thread(tiles);
    const int first = thread.first_path;
    tile.list.fill(sources.radius, first, thread.last_path, kStride);
    staged_boundary(sources, maps, thread, tile.boundary, kStride);
    const int count = thread.count(sources);
    if (count == 0) return;
    const T* const boundary = tile.boundary + thread.in_tile_row * kStride + thread.in_tile_column;
    const std::int64_t plane = sources.of_image();
    std::int64_t own =
        (thread.image * paths + first) * plane + thread.row() * sources.columns + thread.column();
    for (int p = 0; p < thread.last_path - first; ++p, own += plane) {
        T most[kPathRows] = {};
        for (int f = 0; f < tile.list.fours[p]; ++f) {
            const PathPixels four = tile.list.pixels[p][f];
            for (int k = 0; k < 4; ++k) {
                const T* const at = boundary + place_of(four.pixel[k]);
                for (int i = 0; i < kPathRows; ++i) most[i] = std::fmax(most[i], at[i * kStride]);
            }
        }
        for (int i = 0; i < kPathRows; ++i) {
            if (i < count)
                store_element(affinity, kElement, own + i * sources.columns, affinity_of(most[i]));
        }
    }
}

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
    PathTiles tiles(sources_inside(params.images, params.height, params.width, params.radius));
    const BoundaryMaps<T> maps{params.boundary, params.element};
    const int paths = path_count(params.radius);
    if (params.radius <= kListedRadius) {
        // The parts of the paths differ by one at most: a list holds those of each.
        tiles.parts = std::max(tiles.parts, lists_of(params.radius));
        with_element<T>(params.element, [&](auto element) {
            launch(&write_listed<T, decltype(element)::value>, Shape{tiles.blocks()}, params.place,
                   tiles, paths, maps, params.affinity);
        });
        return;
    }
    with_room<kBoundaryRoom<T>>(params.radius, [&](auto room) {
        launch(&write_affinities<decltype(room)::value, T>, Shape{tiles.blocks()}, params.place,
               tiles, paths, maps, params.affinity);
    });
}

template void path_affinity<float>(const PathAffinityParams&);
template void path_affinity<double>(const PathAffinityParams&);

}  // namespace wsss_fast::cuda
