#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "common/cuda/divide.h"
#include "common/cuda/element.h"
#include "common/cuda/launch.h"
#include "ops/cuda/path_pixels.h"
#include "ops/cuda/path_sources.h"

// The largest boundary value on paths, for kernels of which a block has a tile of sources.
//
// A path of radius 10 has 14 pixels on average, so what counts is how its pixels are read: from a
// tile in shared memory, where a warp's 32 of them lie side by side. What it takes to go along a
// path is done once for the four sources of a thread. Parts that paths share, as the CPU has them,
// would take 32 such tiles.
namespace wsss_fast::cuda {

constexpr int kPathColumns = 32;  // sources of a warp, side by side
constexpr int kPathRows = 4;      // sources of a thread, one below the other
constexpr int kPathTileRows = kThreads / kPathColumns * kPathRows;

// How sources and their paths are dealt out to blocks of kThreads threads: by tiles of an image
// and, where those would leave most of a device idle, by ranges of paths.
struct PathTiles {
    PathSources sources;
    std::int64_t across;  // tiles side by side
    std::int64_t down;
    int first_path;  // of the paths that the launch is about
    int last_path;   // one behind
    int parts;       // ranges of paths

    explicit PathTiles(const PathSources& of) : PathTiles(of, 0, path_count(of.radius)) {}

    PathTiles(const PathSources& of, int first, int last)
        : sources(of),
          across((of.columns + kPathColumns - 1) / kPathColumns),
          down((of.rows + kPathTileRows - 1) / kPathTileRows),
          first_path(first),
          last_path(last) {
        // Independent of the device: some results are summed by blocks.
        constexpr std::int64_t kEnough = 512;
        const std::int64_t tiles = std::max<std::int64_t>(1, of.images * across * down);
        parts = static_cast<int>(std::clamp<std::int64_t>(kEnough / tiles, 1, last - first));
    }

    std::int64_t blocks() const { return sources.images * across * down * parts; }
};

// Values of a map that are boundaries; what is none becomes this, which is larger than all of them,
// so that the maximum of a path tells.
template <typename T>
constexpr T kNoBoundary = T(2);

template <typename T>
WSSS_FAST_HOST_DEVICE bool is_boundary(T value) {
    return value >= T(0) && value <= T(1);
}

#if defined(__CUDACC__) || defined(WSSS_FAST_CUDA_ON_HOST)

// 1 - the largest boundary on a path; NaN where kNoBoundary was on it.
template <typename T>
__device__ T affinity_of(T most) {
    return most > T(1) ? static_cast<T>(NAN) : T(1) - most;
}

// Boundaries [images][height][width] in memory.
template <typename T>
struct BoundaryMaps {
    const void* memory;
    Element element;

    // Of what lies outside of the map, 0.
    __device__ T at(const PathSources& of, std::int64_t image, std::int64_t y,
                    std::int64_t x) const {
        if (y < 0 || y >= of.height || x < 0 || x >= of.width) return T(0);
        return at((image * of.height + y) * of.width + x);
    }
    __device__ T at(std::int64_t index) const {
        const T value = load_element<T>(memory, element, index);
        return is_boundary(value) ? value : kNoBoundary<T>;
    }
};

// What a thread has of the sources: those of rows row .. row + kPathRows - 1 in one column, of
// which some may lie beyond the last ones.
struct PathThread {
    std::int64_t image;
    std::int64_t tile_row;  // of the block's first source, among the sources
    std::int64_t tile_column;
    int in_tile_row;  // of the thread's first source
    int in_tile_column;
    int first_path;
    int last_path;

    __device__ explicit PathThread(const PathTiles& tiles) {
        const Quotient of_part = divide(blockIdx.x, tiles.parts);
        const Quotient of_column = divide(of_part.whole, tiles.across);
        const Quotient of_row = divide(of_column.whole, tiles.down);
        image = of_row.whole;
        tile_row = of_row.rest * kPathTileRows;
        tile_column = of_column.rest * kPathColumns;
        in_tile_row = static_cast<int>(threadIdx.x) / kPathColumns * kPathRows;
        in_tile_column = static_cast<int>(threadIdx.x) % kPathColumns;
        const int count = tiles.last_path - tiles.first_path;
        const auto part = static_cast<int>(of_part.rest);
        first_path = tiles.first_path + count * part / tiles.parts;
        last_path = tiles.first_path + count * (part + 1) / tiles.parts;
    }

    __device__ std::int64_t row() const { return tile_row + in_tile_row; }
    __device__ std::int64_t column() const { return tile_column + in_tile_column; }
    // How many of its sources there are.
    __device__ int count(const PathSources& sources) const {
        if (column() >= sources.columns) return 0;
        const std::int64_t left = sources.rows - row();
        return left < 0 ? 0 : left < kPathRows ? static_cast<int>(left) : kPathRows;
    }
};

// The pixels that the paths of a block reach.
struct PathReach {
    int width;
    int height;

    WSSS_FAST_HOST_DEVICE explicit PathReach(int radius)
        : width(kPathColumns + 2 * (radius - 1)), height(kPathTileRows + radius - 1) {}
    WSSS_FAST_HOST_DEVICE int pixels() const { return width * height; }
};

template <typename T, int kPixels>
struct BoundaryTile {
    T value[kPixels];
};

// In 24 KB, of which so many fit a processor that 256 threads each fill it: up to radius 15 in
// double precision, and 31 in single.
template <typename T>
constexpr int kBoundaryRoom = (24 << 10) / sizeof(T);

// boundary(y, x, i): of the pixel (y, x) away from the thread's source i.
template <typename T>
struct StagedBoundary {
    const T* own;
    int stride;

    __device__ T operator()(int y, int x, int i) const { return own[(y + i) * stride + x]; }
};
template <typename T>
struct DirectBoundary {
    BoundaryMaps<T> maps;
    const PathSources& sources;
    std::int64_t image;
    std::int64_t y;
    std::int64_t x;

    __device__ T operator()(int dy, int dx, int i) const {
        return maps.at(sources, image, y + dy + i, x + dx);
    }
};

// What the paths of this thread's sources read, loaded into a tile in shared memory of
// PathReach::height rows, `stride` apart. All threads of the block have to come, once; a barrier
// follows.
template <typename T>
__device__ StagedBoundary<T> staged_boundary(const PathSources& sources,
                                             const BoundaryMaps<T>& maps, const PathThread& thread,
                                             T* tile, int stride) {
    const PathReach reach(sources.radius);
    const std::int64_t left = sources.first_x + thread.tile_column - (sources.radius - 1);
    for (int i = static_cast<int>(threadIdx.x); i < reach.pixels(); i += kThreads) {
        const int y = i / reach.width;
        const int x = i - y * reach.width;
        tile[y * stride + x] = maps.at(sources, thread.image, thread.tile_row + y, left + x);
    }
    __syncthreads();
    const int own = thread.in_tile_row * stride + thread.in_tile_column;
    return {tile + own + sources.radius - 1, stride};
}

// The same with room for kRoom pixels in shared memory, or, without room, from where the maps are.
template <int kRoom, typename T>
__device__ auto boundary_of(const PathSources& sources, const BoundaryMaps<T>& maps,
                            const PathThread& thread) {
    if constexpr (kRoom > 0) {
        auto& tile = block_shared<BoundaryTile<T, kRoom>>();
        return staged_boundary(sources, maps, thread, tile.value, PathReach(sources.radius).width);
    } else {
        return DirectBoundary<T>{maps, sources, thread.image, thread.row(),
                                 sources.first_x + thread.column()};
    }
}

// most[i]: the largest boundary on the path from source i to (dy, dx).
template <typename T, typename Boundary>
__device__ void path_maxima(const Boundary& boundary, int dy, int dx, T (&most)[kPathRows]) {
    for (int i = 0; i < kPathRows; ++i) most[i] = T(0);
    for_path_pixels(dy, dx, [&](int y, int x) {
        for (int i = 0; i < kPathRows; ++i) most[i] = std::fmax(most[i], boundary(y, x, i));
    });
}

// The same, and name(y, x) of the first pixel that holds it.
template <typename T, typename Boundary, typename Name>
__device__ void first_path_maxima(const Boundary& boundary, int dy, int dx, T (&most)[kPathRows],
                                  int (&first)[kPathRows], Name&& name) {
    for (int i = 0; i < kPathRows; ++i) {
        most[i] = T(-1);
        first[i] = 0;
    }
    for_path_pixels(dy, dx, [&](int y, int x) {
        const int here = name(y, x);
        for (int i = 0; i < kPathRows; ++i) {
            const T value = boundary(y, x, i);
            const bool larger = value > most[i];
            most[i] = larger ? value : most[i];
            first[i] = larger ? here : first[i];
        }
    });
}

#endif

// run(std::integral_constant<int, kRoom>), or of 0 where that is too little.
template <int kRoom, typename Run>
void with_room(int radius, Run&& run) {
    if (PathReach(radius).pixels() <= kRoom) {
        run(std::integral_constant<int, kRoom>{});
    } else {
        run(std::integral_constant<int, 0>{});
    }
}

}  // namespace wsss_fast::cuda
