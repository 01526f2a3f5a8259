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

// maximum[i] = the largest value on path p from the pixel at source[i], i < count. Every path must
// lie inside the map whose rows are `stride` apart; `maximum` overlaps nothing.
template <typename T>
void path_maximum(const Paths& paths, std::size_t p, const T* source, std::int64_t stride,
                  std::int64_t count, T* __restrict maximum) {
    const auto row = [&](const Offset& pixel) { return source + pixel.dy * stride + pixel.dx; };
    // Every path has at least its two ends; further pixels go in two at a time to save passes over
    // `maximum`.
    const Offset* pixel = paths.begin(p);
    const Offset* const end = paths.end(p);
    const T* const first = row(pixel[0]);
    const T* const second = row(pixel[1]);
    for (std::int64_t i = 0; i < count; ++i) {
        maximum[i] = first[i] > second[i] ? first[i] : second[i];
    }
    for (pixel += 2; end - pixel >= 2; pixel += 2) {
        const T* const a = row(pixel[0]);
        const T* const b = row(pixel[1]);
        for (std::int64_t i = 0; i < count; ++i) {
            const T larger = a[i] > b[i] ? a[i] : b[i];
            maximum[i] = larger > maximum[i] ? larger : maximum[i];
        }
    }
    if (pixel != end) {
        const T* const a = row(pixel[0]);
        for (std::int64_t i = 0; i < count; ++i) {
            maximum[i] = a[i] > maximum[i] ? a[i] : maximum[i];
        }
    }
}

}  // namespace wsss_fast
