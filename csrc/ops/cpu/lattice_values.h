#pragma once

#include <cstdint>

#include "ops/cpu/lattice_isa.h"
#include "ops/lattice.h"

namespace wsss_fast {

// How many values a row holds for so many channels: padded to what the vector units like.
constexpr int lattice_row_width(std::int64_t channels) {
    const std::int64_t unit = channels <= 2 ? 1 : channels <= 4 ? 4 : channels <= 24 ? 8 : 16;
    return static_cast<int>((channels + unit - 1) / unit * unit);
}

// The values at the rows of one lattice on their way through splat, blur and slice. A row holds all
// channels of a vertex, or of a ghost of one.
template <typename T>
class LatticeValues {
  public:
    // The memory is kept and used again by the next lattice.
    void prepare(const LatticeView<T>& lattice, int width);

    // Tiles of a band must be splatted in order; bands may be splatted at once. values:
    // [kLatticeTile][width]; each point's row is multiplied by scale[point], if there is a scale.
    void splat(std::int64_t tile, const T* values, const T* scale);

    // After all bands are splatted.
    void blur(BlurOrder order, const Execution& execution);

    enum class Slice { kSet, kAdd };

    // Sets or adds factor * scale[point] * (what the blur left at the point), [kLatticeTile][width].
    void slice(std::int64_t tile, T factor, const T* scale, Slice how, T* out) const;

    int width() const { return width_; }

    // To multiply slices by, so that the filter keeps the mean of values on a filled lattice.
    T gain() const {
        return T(1) / (T(1) + T(1) / static_cast<T>(std::int64_t{1} << lattice_.dims));
    }

  private:
    LatticeView<T> lattice_;
    LatticeRowLoops<T> loops_{};
    int width_ = 0;
    Buffer<T> rows_;
};

}  // namespace wsss_fast
