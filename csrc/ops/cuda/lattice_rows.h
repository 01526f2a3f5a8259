#pragma once

#include <cstdint>
#include <type_traits>

#include "common/cuda/place.h"
#include "common/host_device.h"
#include "ops/cuda/lattice_view.h"
#include "ops/lattice.h"

// Values on their way through a lattice. A point and a row of a lattice have a row of channels
// each, as packs of 1, 2 or 4 that a thread loads at once; what pads the last pack is zero.
namespace wsss_fast::cuda {

// Aligned to what one load can take, 16 bytes at the most.
template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth < 16 ? sizeof(T) * kWidth : 16) Pack {
    T value[kWidth];
};

template <int kWidth, typename T>
WSSS_FAST_HOST_DEVICE const Pack<T, kWidth>* packs_at(const T* values) {
    return reinterpret_cast<const Pack<T, kWidth>*>(values);
}
template <int kWidth, typename T>
WSSS_FAST_HOST_DEVICE Pack<T, kWidth>* packs_at(T* values) {
    return reinterpret_cast<Pack<T, kWidth>*>(values);
}

// How a row of channels lies in memory.
struct RowShape {
    int width;           // channels of a pack: 1, 2 or 4
    std::int64_t packs;  // of a row

    std::int64_t channels() const { return width * packs; }
};

inline RowShape row_shape(std::int64_t channels) {
    const int width = channels >= 3 ? 4 : static_cast<int>(channels);
    return {width, width > 0 ? (channels + width - 1) / width : 0};
}

// run(std::integral_constant<int, width>)
template <typename Run>
void with_width(int width, Run&& run) {
    if (width == 1) run(std::integral_constant<int, 1>{});
    if (width == 2) run(std::integral_constant<int, 2>{});
    if (width == 4) run(std::integral_constant<int, 4>{});
}

// t / n and t % n: in 32 bits where they fit, which is several times faster on a device.
struct Quotient {
    std::int64_t whole;
    std::int64_t rest;
};
inline WSSS_FAST_HOST_DEVICE Quotient divide(std::int64_t t, std::int64_t n) {
    if (((t | n) >> 32) == 0) {
        const auto whole = static_cast<std::uint32_t>(t) / static_cast<std::uint32_t>(n);
        return {whole, t - std::int64_t{whole} * n};
    }
    return {t / n, t % n};
}

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

// rows[row] = sum over its entries of weight * points[point]. `points` may be null, for ones.
template <typename T>
void splat(const RowsOnLattice<T>& on, const T* points, T* rows, const Place& place);

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
