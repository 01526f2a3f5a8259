#pragma once

#include <algorithm>
#include <cstdint>

#include "common/parallel.h"
#include "common/path_plan.h"
#include "ops/cpu/path_bands.h"
#include "ops/cpu/path_isa.h"
#include "ops/cpu/path_layout.h"

namespace wsss_fast {

// values = values ** exponent, 0 where that is below kLeastAffinity.
template <typename T>
void raise_affinities(T* values, std::int64_t count, double exponent);

// Pixels of a row, side by side.
struct WalkSpan {
    std::int64_t begin;
    std::int64_t count;  // may be 0
};

// The paths of an image that stay inside it, in bands of the rows in which they start.
template <typename T>
class WalkPaths {
  public:
    WalkPaths(const PathPlan& plan, std::int64_t height, std::int64_t width)
        : plan_(plan),
          height_(height),
          width_(width),
          bands_(height, plan.paths().radius()),
          parts_(plan, bands_.height, width) {}

    const PathBands& bands() const { return bands_; }
    const PathLayout& parts() const { return parts_; }
    PathPieces pieces(std::int64_t p) const { return parts_[p]; }

    // The pixels of row y whose path p stays inside the image.
    WalkSpan span(std::int64_t p, std::int64_t y) const {
        const Offset& to = plan_.paths().offset(static_cast<std::size_t>(p));
        const std::int64_t begin = std::max<std::int64_t>(0, -to.dx);
        const std::int64_t end = std::min(width_, width_ - to.dx);
        return {begin, y + to.dy < height_ ? std::max<std::int64_t>(0, end - begin) : 0};
    }

    // Where a span of row y of a band begins in the band's planes.
    std::int64_t at(std::int64_t y, const WalkSpan& span) const { return y * width_ + span.begin; }

    template <typename Body>
    void for_bands(const Execution& execution, Body&& body) const {
        parallel_for(execution, bands_.count, 1, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t band = begin; band < end; ++band) body(bands_[band]);
        });
    }

    // The parts in all rows that a band reaches.
    void load(const PathBands::Band& band, const T* boundary, T* planes) const {
        const std::int64_t rows = std::min(band.rows + bands_.reach, height_ - band.first);
        std::copy_n(boundary + band.first * width_, rows * width_, planes);
        std::fill(planes + rows * width_, planes + parts_.plane(), T(0));
        parts_.join(path_loops<T>(), planes);
    }

  private:
    const PathPlan& plan_;
    std::int64_t height_;
    std::int64_t width_;
    PathBands bands_;
    PathLayout parts_;
};

}  // namespace wsss_fast
