#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/paths.h"

namespace wsss_fast {

// A way to take the maximum of every path with fewer steps than the paths have pixels.
//
// Paths to neighbouring pixels run side by side, so the same few shapes of pixels turn up in many
// of them. A part is such a shape: part 0 is a single pixel, every other one is two earlier parts,
// `first` at the part's own pixel and `second` at `at` from there. A path is a few pieces, each a
// part at some place. At radius 10 that is 419 pieces in place of 2,134 pixels.
//
// Pixels stay in their order, row by row: all of a part's first half come before all of its second,
// and all of a piece before all of the next. So the first pixel that holds the maximum of a path is
// in the first piece that does, and so on down to pixels.
class PathPlan {
  public:
    struct Part {
        int first;
        int second;
        Offset at;
    };
    struct Piece {
        int part;
        Offset at;
    };

    explicit PathPlan(int radius);

    const Paths& paths() const { return paths_; }
    // All but part 0: parts()[k - 1] is part k.
    const std::vector<Part>& parts() const { return parts_; }
    int part_count() const { return static_cast<int>(parts_.size()) + 1; }

    // The pieces of path p: [begin(p), end(p)).
    const Piece* begin(std::size_t p) const { return pieces_.data() + starts_[p]; }
    const Piece* end(std::size_t p) const { return pieces_.data() + starts_[p + 1]; }

  private:
    void join(const Part& part);

    Paths paths_;
    std::vector<Part> parts_;
    std::vector<Piece> pieces_;
    std::vector<std::size_t> starts_;
};

// Made on first use and kept, up to the largest radius that the public functions take.
const PathPlan& path_plan(int radius);

}  // namespace wsss_fast
