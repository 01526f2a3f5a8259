#pragma once

#include <algorithm>

#include "common/paths.h"
#include "driver/cases.h"

// The pixels and neighbours of ops/path_affinity.h, taken one by one.
namespace wsss_fast::driver {

// At least as large as a radius of 2 takes.
inline Size holding_paths(const Size& size) {
    return {size.images, std::max<std::int64_t>(size.height, 2),
            std::max<std::int64_t>(size.width, 3)};
}

// The largest radius up to 5 that the map takes.
inline int radius_inside(const Size& size) {
    return static_cast<int>(std::min<std::int64_t>(5, std::min(size.height, (size.width + 1) / 2)));
}

// body(path, source, destination, position in the affinity), the pixels within their image.
template <typename Body>
void each_pair(const Paths& paths, const Size& size, Body&& body) {
    const int reach = paths.reach();
    std::int64_t at = 0;
    for (std::size_t p = 0; p < paths.size(); ++p) {
        const Offset& to = paths.offset(p);
        for (std::int64_t y = 0; y < size.height - reach; ++y) {
            for (std::int64_t x = reach; x < size.width - reach; ++x) {
                body(p, y * size.width + x, (y + to.dy) * size.width + x + to.dx, at++);
            }
        }
    }
}

inline std::int64_t pairs_inside(const Paths& paths, const Size& size) {
    return static_cast<std::int64_t>(paths.size()) * (size.height - paths.reach()) *
           (size.width - 2 * paths.reach());
}

}  // namespace wsss_fast::driver
