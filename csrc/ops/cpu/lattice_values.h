#pragma once

#include <cstdint>

#include "ops/lattice.h"

namespace wsss_fast {

// How many values a row holds for so many channels: padded to what the vector units like.
constexpr int lattice_row_width(std::int64_t channels) {
    return static_cast<int>(channels <= 2 ? channels : (channels + 3) / 4 * 4);
}

// The values at the vertices of one lattice on their way through splat, blur and slice. A row holds
// all channels of a vertex. There are two sets of rows: a blur along one axis reads one and writes
// the other, and after the blur the next splat may go into one while slices still read the other.
template <typename T>
class LatticeValues {
  public:
    // The memory is kept and used again by the next lattice.
    void prepare(const LatticeView<T>& lattice, int width);

    // Tiles of a band must be splatted in order; bands may be splatted at once. values:
    // [kLatticeTile][width]; each point's row is multiplied by scale[point], if there is a scale.
    void splat(std::int64_t tile, const T* values, const T* scale) {
        kernels_.splat(lattice_, tile, width_, values, scale, rows_[1 - result_].data(),
                       extra_.data());
    }

    // After all bands are splatted.
    void blur(BlurOrder order, const Execution& execution);

    // Adds factor * scale[point] * (what the blur left at the point) to out, [kLatticeTile][width].
    void slice(std::int64_t tile, T factor, const T* scale, T* out) const {
        kernels_.slice(lattice_, tile, width_, factor, scale, rows_[result_].data(), out);
    }

    int width() const { return width_; }

    // To multiply slices by, so that the filter keeps the mean of values on a filled lattice.
    T gain() const {
        return T(1) / (T(1) + T(1) / static_cast<T>(std::int64_t{1} << lattice_.dims));
    }

  private:
    struct Kernels {
        void (*splat)(const LatticeView<T>&, std::int64_t tile, int width, const T* values,
                      const T* scale, T* rows, T* extra);
        void (*slice)(const LatticeView<T>&, std::int64_t tile, int width, T factor, const T* scale,
                      const T* rows, T* out);
        void (*blur)(const LatticeLink* link, std::int64_t begin, std::int64_t end, int width,
                     const T* in, T* out);
    };
    template <int Width>
    struct Rows;
    static Kernels kernels_for(int width);

    LatticeView<T> lattice_;
    Kernels kernels_{};
    int width_ = 0;
    int result_ = 0;  // which set the last blur ended in; splats go to the other
    Buffer<T> rows_[2];
    Buffer<T> extra_;
};

}  // namespace wsss_fast
