// A block finds the first maximum of each path of its sources and adds the path's gradient to that
// pixel, in sums of its own that lie in shared memory. What the blocks have summed is added up
// behind it, pixel by pixel.
//
// No atomics, which would add in another order each time. A warp has sums of its own, and its 32
// sources lie side by side in a row. Two of them may name the same pixel, which then is the j-th
// pixel of a row of the path for one of them and not the j-th for the other. So those whose pixel
// is the first of its row add together, then those whose pixel is the second, and so on: as many
// steps as the longest row of the path has pixels, which are 4 at radius 10 on average, in place of
// one for each of the 14 pixels of a path.
//
// By the count of instructions a warp takes about 515 for a path and its 4 rows of 32 sources: 310
// to find the maxima, 85 to add. For 32 maps of 128 x 128 they take 0.43 ms on an H200, which could
// issue them in 0.33, where asking every path through a pixel (path_gather.h) took 3.5.
#include <algorithm>
#include <type_traits>

#include "ops/cuda/path_list.h"
#include "ops/cuda/path_maxima.h"
#include "ops/cuda/path_scatter.h"

namespace wsss_fast::cuda {
namespace {

constexpr int kPathWarps = kThreads / kPathColumns;

// Radii for which 5 blocks fit a processor, and those for which 4 do, each in its 48 KB.
template <typename T>
constexpr int kSmallRadius = std::is_same_v<T, float> ? 10 : 7;
template <typename T>
constexpr int kLargeRadius = std::is_same_v<T, float> ? 14 : 7;

// What a block has in shared memory. Rows have the length that the largest radius takes, so that it
// is known when code is compiled.
template <typename T, int kMostRadius>
struct ScatterTile {
    static constexpr int kStride = kPathColumns + 2 * (kMostRadius - 1);

    PathList<kMostRadius> list;
    T boundary[(kPathTileRows + kMostRadius - 1) * kStride];      // that the paths reach
    T sums[kPathWarps][(kPathRows + kMostRadius - 1) * kStride];  // for what those of a warp reach
};

template <typename T>
struct GradMaxima {
    const void* memory;  // [images][paths][rows][stride]
    std::int64_t stride;
    int paths;
};

// The lists of paths that a launch is about, one a block.
struct PathLists {
    int first;
    int count;
    int all;
};

// The first largest boundary values of the paths from a thread's sources.
template <int kStride, typename T>
__device__ void first_maxima(const T* boundary, const PathPixels* pixels, int fours,
                             PathPixel (&first)[kPathRows]) {
    T most[kPathRows];
    for (int i = 0; i < kPathRows; ++i) {
        most[i] = T(-1);
        first[i] = 0;
    }
    for (int f = 0; f < fours; ++f) {
        const PathPixels four = pixels[f];
        for (int k = 0; k < 4; ++k) {
            const PathPixel pixel = four.pixel[k];
            const T* const at = boundary + place_of(pixel);
            for (int i = 0; i < kPathRows; ++i) {
                const T value = at[i * kStride];
                const bool larger = value > most[i];
                most[i] = larger ? value : most[i];
                first[i] = larger ? pixel : first[i];
            }
        }
    }
}

// Sums of one block, of the pixels that its paths reach: [height][width] of PathReach.
template <int kMostRadius, typename T, Element kGrad>
__global__ void __launch_bounds__(kThreads)
    scatter_gradients(PathTiles tiles, PathLists lists, BoundaryMaps<T> maps, GradMaxima<T> grads,
                      T* sums) {
    using Tile = ScatterTile<T, kMostRadius>;
    constexpr int kStride = Tile::kStride;
    auto& tile = block_shared<Tile>();
    const PathSources& sources = tiles.sources;
    const PathThread thread(tiles);
    const int list = lists.first + static_cast<int>(divide(blockIdx.x, tiles.parts).rest);
    const int first_path = grads.paths * list / lists.all;
    const int last_path = grads.paths * (list + 1) / lists.all;
    tile.list.fill(sources.radius, first_path, last_path, kStride);
    const int warp = static_cast<int>(threadIdx.x) / kPathColumns;
    const int lane = thread.in_tile_column;
    T* const of_warp = tile.sums[warp];
    const int warp_rows = kPathRows + sources.radius - 1;
    for (int i = lane; i < warp_rows * kStride; i += kPathColumns) of_warp[i] = T(0);
    staged_boundary(sources, maps, thread, tile.boundary, kStride);

    if (thread.row() < sources.rows) {  // the same in a warp
        const T* const boundary = tile.boundary + thread.in_tile_row * kStride + lane;
        const int count = thread.count(sources);
        const std::int64_t plane = sources.rows * grads.stride;
        std::int64_t at = (thread.image * grads.paths + first_path) * plane +
                          thread.row() * grads.stride + thread.column();
        for (int p = 0; p < last_path - first_path; ++p, at += plane) {
            T grad[kPathRows];
            for (int i = 0; i < kPathRows; ++i) {
                grad[i] = T(0);
                if (i < count)
                    grad[i] = load_element<T>(grads.memory, kGrad, at + i * grads.stride);
            }
            PathPixel first[kPathRows];
            first_maxima<kStride>(boundary, tile.list.pixels[p], tile.list.fours[p], first);
            int step_of[kPathRows];
            for (int i = 0; i < kPathRows; ++i) {
                step_of[i] = i < count ? number_in_row(first[i]) : -1;
            }
            const int steps = tile.list.longest[p];
            for (int step = 0; step < steps; ++step) {
                for (int i = 0; i < kPathRows; ++i) {
                    if (step_of[i] == step) {
                        of_warp[place_of(first[i]) + lane + i * kStride] += grad[i];
                    }
                    __syncwarp();
                }
            }
        }
    }
    __syncthreads();

    const PathReach reach(sources.radius);
    T* const out = sums + std::int64_t{blockIdx.x} * reach.pixels();
    for (int i = static_cast<int>(threadIdx.x); i < reach.pixels(); i += kThreads) {
        const int y = i / reach.width;
        const int x = i - y * reach.width;
        T sum = T(0);
        for (int w = 0; w < kPathWarps; ++w) {
            const int in_warp = y - w * kPathRows;
            if (in_warp >= 0 && in_warp < warp_rows) sum += tile.sums[w][in_warp * kStride + x];
        }
        out[i] = sum;
    }
}

// Which tiles along an axis reach a position: those of kLength sources that reach `before` behind
// them and `after` beyond.
struct TileRange {
    std::int64_t first;
    std::int64_t last;

    __device__ TileRange(std::int64_t at, int length, int before, int after, std::int64_t tiles) {
        const std::int64_t lowest = at - after - (length - 1);
        first = lowest <= 0 ? 0 : divide(lowest + length - 1, length).whole;
        last = divide(at + before, length).whole;
        last = last < tiles ? last : tiles - 1;
    }
};

// The sums of all blocks for each pixel, always in the same order.
template <typename T>
__global__ void add_sums(PathTiles tiles, BoundaryMaps<T> maps, T scale, const T* sums,
                         T* grad_boundary) {
    const PathSources& sources = tiles.sources;
    const std::int64_t number = thread_number();
    const PathMapPixel pixel(sources, number);
    if (pixel.image >= sources.images) return;

    const PathReach reach(sources.radius);
    const int around = sources.radius - 1;
    const TileRange down(pixel.row, kPathTileRows, 0, around, tiles.down);
    const TileRange across(pixel.column, kPathColumns, around, around, tiles.across);
    T sum = is_boundary(maps.at(number)) ? grad_boundary[number] : static_cast<T>(NAN);
    for (int part = 0; part < tiles.parts; ++part) {
        for (std::int64_t y = down.first; y <= down.last; ++y) {
            for (std::int64_t x = across.first; x <= across.last; ++x) {
                const std::int64_t tile = (pixel.image * tiles.down + y) * tiles.across + x;
                const std::int64_t in_tile = (pixel.row - y * kPathTileRows) * reach.width +
                                             pixel.column - x * kPathColumns + around;
                sum += scale * sums[(tile * tiles.parts + part) * reach.pixels() + in_tile];
            }
        }
    }
    grad_boundary[number] = sum;
}

// Sums of all sources for one list of paths.
template <typename T>
std::int64_t list_bytes(const PathSources& sources) {
    const PathTiles tiles(sources);
    return sources.images * tiles.down * tiles.across * PathReach(sources.radius).pixels() *
           static_cast<std::int64_t>(sizeof(T));
}

template <typename T>
int lists_at_once(const PathSources& sources) {
    constexpr std::int64_t kMost = std::int64_t{32} << 20;
    const std::int64_t bytes = std::max<std::int64_t>(1, list_bytes<T>(sources));
    return static_cast<int>(std::clamp<std::int64_t>(kMost / bytes, 1, lists_of(sources.radius)));
}

// run(std::integral_constant<int, kMostRadius>) of the smaller one that does.
template <typename T, typename Run>
void with_most_radius(int radius, Run&& run) {
    if (radius <= kSmallRadius<T>) {
        run(std::integral_constant<int, kSmallRadius<T>>{});
    } else {
        run(std::integral_constant<int, kLargeRadius<T>>{});
    }
}

}  // namespace

template <typename T>
bool path_scatter_has_room(int radius) {
    return radius <= kLargeRadius<T>;
}

template <typename T>
std::int64_t path_scatter_workspace_bytes(const PathGradientParams<T>& params) {
    return lists_at_once<T>(params.sources) * list_bytes<T>(params.sources);
}

template <typename T>
void path_scatter(const PathGradientParams<T>& params) {
    const PathSources& sources = params.sources;
    auto* const sums = static_cast<T*>(params.workspace);
    mark_unset(sums, path_scatter_workspace_bytes(params));
    const BoundaryMaps<T> maps{params.boundary, params.element};
    const GradMaxima<T> grads{params.grad_maxima, params.stride, path_count(sources.radius)};
    const int all = lists_of(sources.radius);
    const int at_once = lists_at_once<T>(sources);
    for (int first = 0; first < all; first += at_once) {
        const PathLists lists{first, std::min(at_once, all - first), all};
        PathTiles tiles(sources);
        tiles.parts = lists.count;
        with_most_radius<T>(sources.radius, [&](auto most) {
            with_element<T>(params.grad_element, [&](auto element) {
                launch(&scatter_gradients<decltype(most)::value, T, decltype(element)::value>,
                       Shape{tiles.blocks()}, params.place, tiles, lists, maps, grads, sums);
            });
        });
        launch(&add_sums<T>, for_each(sources.images * sources.height * sources.width),
               params.place, tiles, maps, params.scale, sums, params.grad_boundary);
    }
}

template bool path_scatter_has_room<float>(int);
template bool path_scatter_has_room<double>(int);
template std::int64_t path_scatter_workspace_bytes(const PathGradientParams<float>&);
template std::int64_t path_scatter_workspace_bytes(const PathGradientParams<double>&);
template void path_scatter(const PathGradientParams<float>&);
template void path_scatter(const PathGradientParams<double>&);

}  // namespace wsss_fast::cuda
