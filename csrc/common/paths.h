#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wsss_fast {

// A step from one pixel to another, in pixels.
struct Offset {
    int dy;
    int dx;
};

// The neighbours of a pixel inside a radius, one of each opposite pair, and the straight path to
// each.
//
// Neighbours: all (dy, dx) with dy^2 + dx^2 < radius^2 in the order (0, 1 .. radius-1), then
// dy = 1 .. radius-1, each with dx rising. A path: the pixels (y, x) of the bounding box of (0, 0)
// and (dy, dx), both included, with (dy x - dx y)^2 < dy^2 + dx^2, row by row. The path of the
// opposite neighbour is the same set of pixels, shifted, so one of each pair is enough.
class Paths {
  public:
    explicit Paths(int radius);

    int radius() const { return radius_; }
    // The largest |dy| or |dx| of any neighbour.
    int reach() const { return radius_ - 1; }
    std::size_t size() const { return offsets_.size(); }
    const Offset& offset(std::size_t p) const { return offsets_[p]; }
    const std::vector<Offset>& offsets() const { return offsets_; }

    // The pixels of path p: [begin(p), end(p)).
    const Offset* begin(std::size_t p) const { return pixels_.data() + starts_[p]; }
    const Offset* end(std::size_t p) const { return pixels_.data() + starts_[p + 1]; }

  private:
    int radius_;
    std::vector<Offset> offsets_;
    std::vector<Offset> pixels_;
    std::vector<std::size_t> starts_;
};

}  // namespace wsss_fast
