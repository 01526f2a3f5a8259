#pragma once

#include <cstdint>

#include "common/cuda/constants.h"
#include "common/cuda/divide.h"
#include "common/cuda/launch.h"
#include "common/cuda/pack.h"
#include "common/host_device.h"

// The images of a walk as its kernels see them. A pixel has its maps as packs: a thread walks one
// pack of one pixel, so that a weight is loaded once for the maps of a pack. A block has a tile of
// pixels; what it does at once, one pack of each pixel of a tile, is an item.
namespace wsss_fast::cuda {

constexpr int kTileWidth = 32;  // a warp has a row, so that it loads whole lines of weights
constexpr int kTileHeight = 8;
constexpr int kTilePixels = kTileWidth * kTileHeight;  // and as many threads a block
constexpr int kMostReach = 14;                         // of radius 15
constexpr std::int64_t kBeforeWeights = 16;  // zeros before the first weight, at least kMostReach
constexpr int kBatchesOfTable = 16;          // a table goes to kernels by value, in less than 4 KB

// Images of one size. Rows of pixels are `stride` apart in all arrays here.
template <typename T>
struct WalkImages {
    std::int64_t images;
    std::int64_t maps;
    std::int64_t height;
    std::int64_t width;
    std::int64_t stride;
    std::int64_t packs;          // of a pixel
    std::int64_t items_of_tile;  // an item has one pack of its pixels, or all of them
    std::int64_t first_item;     // among those of the table

    // [images][neighbours][height][stride]: 0 where there is no neighbour. Rows are filled up with
    // zeros as far as neighbours reach, and so many stand before the first one.
    T* weights;
    T* inverse_degrees;  // [images][height][stride]
    // Packs, [images][packs][height][stride]:
    T* x;
    T* other_x;
    T* sum;  // null: none is kept

    WSSS_FAST_HOST_DEVICE std::int64_t pixels() const { return images * height * stride; }
    WSSS_FAST_HOST_DEVICE std::int64_t tiles_across() const {
        return (width + kTileWidth - 1) / kTileWidth;
    }
    WSSS_FAST_HOST_DEVICE std::int64_t tiles_down() const {
        return (height + kTileHeight - 1) / kTileHeight;
    }
    std::int64_t items() const { return images * items_of_tile * tiles_across() * tiles_down(); }
};

template <typename T>
struct WalkTable {
    WalkImages<T> of[kBatchesOfTable];
    int count;                   // of the batches
    int reach;                   // rows of the farthest neighbour
    int extent[kMostReach + 1];  // columns of the farthest one so many rows away
    int neighbours;              // in the lower half-plane
    std::int64_t items;          // of all batches
};

// How many columns away the farthest neighbour of a radius is, so many rows away.
WSSS_FAST_HOST_DEVICE constexpr int extent_of(int radius, int rows) {
    int extent = 0;
    while ((extent + 1) * (extent + 1) + rows * rows < radius * radius) ++extent;
    return extent;
}

#if defined(__CUDACC__) || defined(WSSS_FAST_CUDA_ON_HOST)

// Where a thread is: in the tile of an item.
struct WalkSpot {
    int batch;
    std::int64_t image;
    std::int64_t pack;
    std::int64_t y;  // of the pixel; it may lie beyond the image's edge
    std::int64_t x;
    bool inside;
    std::int64_t plane;   // where the maps' plane of this image and pack begins
    std::int64_t at;      // the pixel in that plane
    std::int64_t pixel;   // the pixel among those of all images of the batch
    std::int64_t tile_y;  // of the tile's first pixel
    std::int64_t tile_x;

    template <typename T>
    __device__ WalkSpot(const WalkTable<T>& table, std::int64_t item) {
        batch = 0;
        while (batch + 1 < table.count && item >= table.of[batch + 1].first_item) ++batch;
        const WalkImages<T>& of = table.of[batch];
        // Packs of a tile follow each other: the weights they share are still at hand.
        const Quotient of_tile = divide(item - of.first_item, of.items_of_tile);
        const Quotient of_row = divide(of_tile.whole, of.tiles_across());
        const Quotient of_image = divide(of_row.whole, of.tiles_down());
        image = of_image.whole;
        pack = of_tile.rest;
        tile_y = of_image.rest * kTileHeight;
        tile_x = of_row.rest * kTileWidth;
        y = tile_y + threadIdx.x / kTileWidth;
        x = tile_x + threadIdx.x % kTileWidth;
        inside = y < of.height && x < of.width;
        plane = (image * of.packs + pack) * of.height * of.stride;
        at = y * of.stride + x;
        pixel = image * of.height * of.stride + at;
    }

    // To the next pack of the same pixel.
    template <typename T>
    __device__ void next_pack(const WalkImages<T>& of) {
        ++pack;
        plane += of.height * of.stride;
    }

    // The pixel's weight for the first of its neighbours.
    template <typename T>
    __device__ std::int64_t first_weight(const WalkTable<T>& table) const {
        return (pixel - at) * table.neighbours + at;
    }
};

// The neighbours of kRadius as constants, so that their loads do not wait for each other; with 0
// those of the table.
template <int kRadius>
struct WalkNeighbours {
    template <typename T, typename Body>
    static __device__ void for_rows(const WalkTable<T>& table, Body&& body) {
        if constexpr (kRadius > 0) {
            for_constants<0, kRadius>(body);
        } else {
            for (int dy = 0; dy <= table.reach; ++dy) body(dy);
        }
    }

    // Of the row that for_rows gave.
    template <typename T, typename Row, typename Body>
    static __device__ void for_columns(const WalkTable<T>& table, Row row, Body&& body) {
        if constexpr (kRadius > 0) {
            constexpr int kEnd = extent_of(kRadius, Row::value) + 1;
            for_constants<(Row::value == 0 ? 1 : 1 - kEnd), kEnd>(body);
        } else {
            const int extent = table.extent[row];
            for (int dx = row == 0 ? 1 : -extent; dx <= extent; ++dx) body(dx);
        }
    }
};

// body(dy, dx, at) for the neighbours of a pixel in the lower half-plane, in the order of
// common/paths.h; `at` is where this pixel's weight is. Those beyond an edge have the weight 0.
template <int kRadius, typename T, typename Body>
__device__ void for_neighbours_below(const WalkTable<T>& table, const WalkSpot& spot, Body&& body) {
    const WalkImages<T>& of = table.of[spot.batch];
    std::int64_t at = spot.first_weight(table);
    const std::int64_t plane = of.height * of.stride;
    WalkNeighbours<kRadius>::for_rows(table, [&](auto dy) {
        WalkNeighbours<kRadius>::for_columns(table, dy, [&](int dx) {
            body(int{dy}, dx, at);
            at += plane;
        });
    });
}

// body(dy, dx, at) for their opposites, each at (-dy, -dx) from the pixel, in the same order. They
// have the weights: beyond the left edge it is what fills the row before, 0.
template <int kRadius, typename T, typename Body>
__device__ void for_neighbours_above(const WalkTable<T>& table, const WalkSpot& spot, Body&& body) {
    const WalkImages<T>& of = table.of[spot.batch];
    std::int64_t at = spot.first_weight(table);
    const std::int64_t plane = of.height * of.stride;
    WalkNeighbours<kRadius>::for_rows(table, [&](auto dy) {
        if (spot.y < dy) return;
        WalkNeighbours<kRadius>::for_columns(table, dy, [&](int dx) {
            body(int{dy}, dx, at - dy * of.stride - dx);
            at += plane;
        });
    });
}

#endif

}  // namespace wsss_fast::cuda
