#include "common/paths.h"

#include <algorithm>

namespace wsss_fast {

Paths::Paths(int radius) : radius_(radius) {
    for (int dx = 1; dx < radius; ++dx) offsets_.push_back({0, dx});
    for (int dy = 1; dy < radius; ++dy) {
        for (int dx = 1 - radius; dx < radius; ++dx) {
            if (dy * dy + dx * dx < radius * radius) offsets_.push_back({dy, dx});
        }
    }
    starts_.push_back(0);
    for (const Offset& to : offsets_) {
        for (int y = 0; y <= to.dy; ++y) {
            for (int x = std::min(to.dx, 0); x <= std::max(to.dx, 0); ++x) {
                const int cross = to.dy * x - to.dx * y;
                if (cross * cross < to.dy * to.dy + to.dx * to.dx) pixels_.push_back({y, x});
            }
        }
        starts_.push_back(pixels_.size());
    }
}

}  // namespace wsss_fast
