#pragma once

#include <cstdint>

#include "common/host_device.h"

// The arithmetic of one point of a permutohedral lattice: which simplex encloses it and how near it
// is to each corner. What the CPU does for a tile of points and a CUDA thread for one, in the same
// order of operations and so with the same bits.
namespace wsss_fast::WSSS_FAST_ISA {

// Coordinate j > 0 of the point in the hyperplane of coordinates that sum to zero; `partial` is the
// sum of the scaled features behind this one, and afterwards with it. The last `partial` is
// coordinate 0.
template <typename T>
inline WSSS_FAST_HOST_DEVICE T elevate(T feature, T scale, T j, T& partial) {
    const T scaled = feature * scale;
    const T coordinate = partial - j * scaled;
    partial += scaled;
    return coordinate;
}

// Which multiple of `corners` is nearest to the coordinate. `inverse`: 1 / corners.
template <typename T>
inline WSSS_FAST_HOST_DEVICE T nearest_multiple(T coordinate, T inverse) {
    // Adding and taking off 1.5 * 2^(mantissa bits) rounds half to even, and is vectorised.
    constexpr T kRounder = sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);
    return (inverse * coordinate + kRounder) - kRounder;
}

// How far the coordinate lies above that multiple: the larger, the earlier it comes in the order of
// coordinates, which corners follow.
template <typename T>
inline WSSS_FAST_HOST_DEVICE T above_multiple(T coordinate, T multiple, T corners) {
    return coordinate - multiple * corners;
}

// Counts, for each of two coordinates that lie so far above their multiples, whether the other one
// comes before it. Of equals the first does.
template <typename T>
inline WSSS_FAST_HOST_DEVICE void rank_pair(T first, T second, std::int32_t& rank_of_first,
                                            std::int32_t& rank_of_second) {
    const std::int32_t less = first < second ? 1 : 0;
    rank_of_first += less;
    rank_of_second += 1 - less;
}

// Where rounding left the hyperplane, the coordinates that moved most move once more: by how many
// multiples one does whose rank, with the sum of all multiples added, is this.
inline WSSS_FAST_HOST_DEVICE std::int32_t move_back(std::int32_t rank, int d) {
    return rank < 0 ? 1 : (rank > d ? -1 : 0);
}

// What is left of the coordinate beside its multiple, as a part of d + 1.
template <typename T>
inline WSSS_FAST_HOST_DEVICE T rest_of(T coordinate, std::int32_t multiple, T corners, T inverse) {
    return above_multiple(coordinate, static_cast<T>(multiple), corners) * inverse;
}

// The barycentric weight of corner 0 from the first and the last of the sorted rests, and of corner
// r > 0 from those of ranks d - r and d - r + 1.
template <typename T>
inline WSSS_FAST_HOST_DEVICE T weight_of_origin(T first, T last) {
    return last + (T(1) - first);
}
template <typename T>
inline WSSS_FAST_HOST_DEVICE T weight_of_corner(T higher, T lower) {
    return higher - lower;
}

}  // namespace wsss_fast::WSSS_FAST_ISA
