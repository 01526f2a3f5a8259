#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/cuda/carve.h"
#include "ops/cuda/path_sources.h"
#include "ops/cuda/random_walk_images.h"
#include "ops/cuda/random_walk_steps.h"

// How the images of a call are taken together: as many at a time as go into one table and do not
// take too much memory.
namespace wsss_fast::cuda {

// What the workspace may come to, unless a single image takes more.
constexpr std::int64_t kMostWalkBytes = std::int64_t{1} << 29;

// Some images of one of the batches.
struct WalkPart {
    std::int64_t batch;
    std::int64_t first;
    std::int64_t images;
};

struct WalkSeries {
    int width = 1;  // of their packs
    std::vector<WalkPart> parts{};
};

// Pixels from a row to the next: what fills them up is as wide as neighbours reach, and rows begin
// where a sector of memory does.
inline std::int64_t walk_stride(std::int64_t width, int radius) {
    constexpr std::int64_t kSector = 8;
    return (width + radius - 1 + kSector - 1) / kSector * kSector;
}

// Batches of a walk or of its gradient. `arrays`: how many of packs a step loads tiles of, and how
// many numbers an image takes for each of its pixels and of their packs.
struct WalkNeeds {
    int arrays;
    std::int64_t of_pixel;
    std::int64_t of_pack;
};
template <typename T, typename Batch>
std::vector<WalkSeries> walk_series(const Batch* batches, std::int64_t count, int radius,
                                    const WalkNeeds& needs) {
    const int most = most_of_pack<T>(radius - 1, needs.arrays);
    std::vector<WalkSeries> series;
    for (int width = 1; width <= most; width *= 2) {
        std::int64_t bytes = 0;  // of the last series
        bool open = false;
        for (std::int64_t b = 0; b < count; ++b) {
            const Batch& batch = batches[b];
            if (batch.maps == 0 || std::min(row_shape(batch.maps).width, most) != width) continue;
            const std::int64_t packs = (batch.maps + width - 1) / width;
            const std::int64_t of_image = batch.height * walk_stride(batch.width, radius) *
                                          static_cast<std::int64_t>(sizeof(T)) *
                                          (needs.of_pixel + needs.of_pack * packs * width);
            for (std::int64_t first = 0; first < batch.images;) {
                const bool full = open && (series.back().parts.size() == kBatchesOfTable ||
                                           (bytes > 0 && bytes + of_image > kMostWalkBytes));
                if (!open || full) {
                    series.push_back({width});
                    bytes = 0;
                    open = true;
                }
                const std::int64_t room = (kMostWalkBytes - bytes) / of_image;
                const std::int64_t images = std::clamp<std::int64_t>(room, 1, batch.images - first);
                series.back().parts.push_back({b, first, images});
                bytes += images * of_image;
                first += images;
            }
        }
    }
    return series;
}

// The table of a series, with what every walk needs cut from the workspace.
template <typename T, typename Batch>
WalkTable<T> walk_table(const Batch* batches, int radius, const WalkSeries& series, Carve& carve) {
    WalkTable<T> table{};
    table.reach = radius - 1;
    table.neighbours = path_count(radius);
    for (int dy = 0; dy < radius; ++dy) table.extent[dy] = extent_of(radius, dy);
    for (const WalkPart& part : series.parts) {
        const Batch& batch = batches[part.batch];
        WalkImages<T>& of = table.of[table.count++];
        of.images = part.images;
        of.maps = batch.maps;
        of.height = batch.height;
        of.width = batch.width;
        of.stride = walk_stride(batch.width, radius);
        of.packs = (batch.maps + series.width - 1) / series.width;
        of.items_of_tile = of.packs;
        of.first_item = table.items;
        table.items += of.items();
        // In front of the weights are zeros, which the first pixel may read.
        T* const weights = carve.template take<T>(kBeforeWeights + table.neighbours * of.pixels());
        of.weights = weights ? weights + kBeforeWeights : nullptr;
        of.inverse_degrees = carve.template take<T>(of.pixels());
        of.x = carve.template take<T>(of.pixels() * of.packs * series.width);
        of.other_x = carve.template take<T>(of.pixels() * of.packs * series.width);
    }
    return table;
}

// The same images, with items that have all packs of their pixels.
template <typename T>
WalkTable<T> by_tiles(const WalkTable<T>& table) {
    WalkTable<T> result = table;
    result.items = 0;
    for (int b = 0; b < result.count; ++b) {
        result.of[b].items_of_tile = 1;
        result.of[b].first_item = result.items;
        result.items += result.of[b].items();
    }
    return result;
}

}  // namespace wsss_fast::cuda
