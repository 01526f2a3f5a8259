#pragma once

#include <cstdint>

#include "common/cuda/divide.h"
#include "common/host_device.h"

namespace wsss_fast::cuda {

// Where paths (common/paths.h) begin: in the first `rows` rows of maps [images][height][width], in
// the columns from first_x on. Paths may leave the map.
struct PathSources {
    std::int64_t images;   // may be 0
    std::int64_t height;   // of a map
    std::int64_t width;    // of a map
    std::int64_t rows;     // at most height
    std::int64_t first_x;  // the column of the map that the first source of a row lies in
    std::int64_t columns;  // of sources
    int radius;            // from 2 to 64

    WSSS_FAST_HOST_DEVICE std::int64_t of_image() const { return rows * columns; }
};

// Those of which every path lies inside the map.
inline PathSources sources_inside(std::int64_t images, std::int64_t height, std::int64_t width,
                                  int radius) {
    const int reach = radius - 1;
    return {images, height, width, height - reach, reach, width - 2 * reach, radius};
}

// Pixel `number` of the maps. Its column is counted as those of sources are.
struct PathMapPixel {
    std::int64_t image;
    std::int64_t row;
    std::int64_t column;

    WSSS_FAST_HOST_DEVICE PathMapPixel(const PathSources& sources, std::int64_t number) {
        const Quotient of_row = divide(number, sources.width);
        const Quotient of_image = divide(of_row.whole, sources.height);
        image = of_image.whole;
        row = of_image.rest;
        column = of_row.rest - sources.first_x;
    }
};

// How many paths begin in a source.
inline int path_count(int radius) {
    int count = radius - 1;
    for (int dy = 1; dy < radius; ++dy) {
        for (int dx = 1 - radius; dx < radius; ++dx) count += dy * dy + dx * dx < radius * radius;
    }
    return count;
}

}  // namespace wsss_fast::cuda
