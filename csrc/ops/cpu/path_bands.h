#pragma once

#include <algorithm>
#include <cstdint>

namespace wsss_fast {

// Where the gradient of paths is added up. Those that start in a row end up to `reach` rows below
// it, so rows are taken in bands, each with sums of its own for all rows that it reaches; what
// bands have for one row is then added in their order. Bands depend on the sizes alone, so the bits
// do not depend on the threads.
struct PathBands {
    std::int64_t width;
    std::int64_t reach;
    std::int64_t rows;    // of a band, where paths start
    std::int64_t count;   // bands
    std::int64_t height;  // rows that a band reaches

    // For paths that start in the first `starts` rows.
    PathBands(std::int64_t starts, std::int64_t width_in, int reach_in)
        : width(width_in),
          reach(reach_in),
          rows(std::max<std::int64_t>(16, 2 * reach)),
          count((starts - 1) / rows + 1),
          height(rows + reach) {}

    std::int64_t size() const { return height * width; }  // elements of one band's sums

    // out += row y of the sums [count, height, width].
    template <typename T>
    void add_row(const T* sums, std::int64_t y, T* out) const {
        const std::int64_t oldest = std::max<std::int64_t>(0, y - reach) / rows;
        const std::int64_t newest = std::min(y / rows, count - 1);
        for (std::int64_t band = oldest; band <= newest; ++band) {
            const std::int64_t row = y - band * rows;
            if (row >= height) continue;
            const T* const from = sums + band * size() + row * width;
            for (std::int64_t x = 0; x < width; ++x) out[x] += from[x];
        }
    }
};

}  // namespace wsss_fast
