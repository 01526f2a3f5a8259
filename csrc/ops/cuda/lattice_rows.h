#pragma once

#include <cstdint>

#include "common/cuda/pack.h"
#include "common/cuda/place.h"
#include "ops/cuda/lattice_view.h"
#include "ops/lattice.h"

// Values on their way through a lattice. A point and a row of a lattice have a row of channels
// each, as packs of 1, 2 or 4 that a thread loads at once; what pads the last pack is zero.
namespace wsss_fast::cuda {

// The rows of one or more sets of values on one lattice, one set behind the other.
template <typename T>
struct RowsOnLattice {
    LatticeView<T> lattice;
    std::int64_t copies;  // sets of values
    RowShape shape;

    std::int64_t point_rows() const { return copies * lattice.points; }
    std::int64_t lattice_rows() const { return copies * lattice.rows; }
    std::int64_t point_values() const { return point_rows() * shape.channels(); }
    std::int64_t lattice_values() const { return lattice_rows() * shape.channels(); }
};

// rows[row] = sum over its entries of weight * points[point].
template <typename T>
void splat(const RowsOnLattice<T>& on, const T* points, T* rows, const Place& place);
// The same of points that have one channel each, which is one.
template <typename T>
void splat_ones(const RowsOnLattice<T>& on, T* rows, const Place& place);

// How often a blur goes through the rows.
constexpr int blur_passes(int dims) { return (dims + 2) / 2; }

// Blurs along all axes; `rows` goes in, and comes out where the result is. `other` is as large.
template <typename T>
struct BlurBuffers {
    T* rows;
    T* other;
};
template <typename T>
BlurBuffers<T> blur(const RowsOnLattice<T>& on, BlurOrder order, BlurBuffers<T> buffers,
                    const Place& place);

}  // namespace wsss_fast::cuda
