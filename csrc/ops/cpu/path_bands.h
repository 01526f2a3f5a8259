#pragma once

#include <algorithm>
#include <cstdint>

namespace wsss_fast {

// Ops on all paths of a map take bands of rows: a path starts in a row of its band and reaches at
// most `reach` rows below. Where paths add to what they pass, a band adds into rows of its own, and
// those of all bands are summed in order. Bands depend on the sizes alone, so the bits do not
// depend on the threads.
struct PathBands {
    std::int64_t reach;
    std::int64_t starts;  // rows of the map that paths start in
    std::int64_t rows;    // of them in a band; the last one of an image may have fewer
    std::int64_t count;   // bands an image
    std::int64_t height;  // rows of the map that a full band reaches

    // For paths that start in the first so many rows of a map.
    PathBands(std::int64_t starts_in, int radius)
        : reach(radius - 1),
          starts(starts_in),
          rows(std::max<std::int64_t>(16, 2 * reach)),
          count((starts - 1) / rows + 1),
          height(rows + reach) {}

    // For those whose every neighbour lies inside the map.
    static PathBands inside(std::int64_t map_height, int radius) {
        return {map_height - (radius - 1), radius};
    }

    struct Band {
        std::int64_t image;
        std::int64_t first;  // row
        std::int64_t rows;
    };

    // Bands of all images, one after another.
    Band operator[](std::int64_t item) const {
        const std::int64_t first = item % count * rows;
        return {item / count, first, std::min(rows, starts - first)};
    }

    // Adds to `out` row y of an image from the rows of its bands: values[band][height][width].
    template <typename T>
    void add_row(const T* values, std::int64_t y, std::int64_t width, T* out) const {
        const std::int64_t oldest = std::max<std::int64_t>(0, y - reach) / rows;
        const std::int64_t newest = std::min(y / rows, count - 1);
        for (std::int64_t band = oldest; band <= newest; ++band) {
            const std::int64_t row = y - band * rows;
            if (row >= height) continue;
            const T* const from = values + (band * height + row) * width;
            for (std::int64_t x = 0; x < width; ++x) out[x] += from[x];
        }
    }

    // The same into a row that need not be set.
    template <typename T>
    void sum_row(const T* values, std::int64_t y, std::int64_t width, T* out) const {
        std::fill(out, out + width, T(0));
        add_row(values, y, width, out);
    }
};

}  // namespace wsss_fast
