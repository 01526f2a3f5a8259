#pragma once

#include <cstdint>

#include "common/cuda/launch.h"
#include "common/simplex.h"
#include "ops/cuda/lattice.h"

// What one thread does for one point of a lattice.
namespace wsss_fast::cuda {

// kDims: d where it is known at compile time, so that the arrays are registers; 0 where it is not.
template <int kDims>
constexpr int kRoomForCorners = kDims > 0 ? kDims + 1 : kMaxLatticeCorners;

template <int kDims, typename T>
struct Simplex {
    std::int32_t origin[kRoomForCorners<kDims>];  // the remainder-0 corner, in units of d+1
    std::int32_t rank[kRoomForCorners<kDims>];    // place of a coordinate in descending order
    T sorted[kRoomForCorners<kDims>];             // point minus origin, in descending order
};

// False where a value is one that a lattice cannot be made of.
template <typename T>
__device__ bool read_features(const LatticePoints<T>& points, std::int64_t image,
                              std::int64_t point, T* feature) {
    const std::int64_t count = points.height * points.width;
    if (points.kind == CrfFeatures::kGiven) {
        for (int i = 0; i < points.dims; ++i)
            feature[i] = points.features[(image * points.dims + i) * count + point];
        return true;
    }
    feature[0] = static_cast<T>(point % points.width) / points.sxy[0];
    feature[1] = static_cast<T>(point / points.width) / points.sxy[1];
    if (points.kind == CrfFeatures::kPosition) return true;
    bool good = true;
    for (int i = 0; i < 3; ++i) {
        const std::int64_t at = (image * 3 + i) * count + point;
        const T value =
            points.image_bytes ? static_cast<T>(points.image_bytes[at]) : points.image[at];
        good &= value >= T(0) && value <= T(255);
        feature[2 + i] = value / points.srgb[i];
    }
    return good;
}

// False where the point lies out of reach of T, or is NaN.
template <int kDims, typename T>
__device__ bool find_simplex(const LatticeEmbedding<T>& embedding, const T* feature,
                             Simplex<kDims, T>& simplex) {
    const int d = kDims > 0 ? kDims : embedding.dims;
    const T corners = static_cast<T>(d + 1);
    const T inverse = T(1) / corners;
    T coordinate[kRoomForCorners<kDims>];
    T partial = 0;
    bool good = true;
    for (int j = d; j > 0; --j) {
        coordinate[j] = elevate(feature[j - 1], embedding.scale[j - 1], static_cast<T>(j), partial);
    }
    coordinate[0] = partial;

    std::int32_t sum = 0;
    T rest[kRoomForCorners<kDims>];
    for (int i = 0; i <= d; ++i) {
        constexpr T kReach = static_cast<T>(kLatticeReach<T>);
        good &= coordinate[i] >= -kReach && coordinate[i] <= kReach;
        const T multiple = good ? nearest_multiple(coordinate[i], inverse) : T(0);
        rest[i] = above_multiple(coordinate[i], multiple, corners);
        simplex.origin[i] = static_cast<std::int32_t>(multiple);
        sum += simplex.origin[i];
    }
    for (int i = 0; i <= d; ++i) simplex.rank[i] = sum;
    for (int i = 0; i < d; ++i) {
        for (int j = i + 1; j <= d; ++j) {
            rank_pair(rest[i], rest[j], simplex.rank[i], simplex.rank[j]);
        }
    }
    for (int i = 0; i <= d; ++i) {
        const std::int32_t back = move_back(simplex.rank[i], d);
        simplex.rank[i] += back * (d + 1);
        simplex.origin[i] += back;
        rest[i] = rest_of(coordinate[i], simplex.origin[i], corners, inverse);
    }
    // By comparisons: an index that is known at run time only would move the arrays out of
    // registers.
    for (int r = 0; r <= d; ++r) {
        T in_place = 0;
        for (int i = 0; i <= d; ++i) in_place = simplex.rank[i] == r ? rest[i] : in_place;
        simplex.sorted[r] = in_place;
    }
    return good;
}

// The simplex of a point; that of the origin, and false, where the point is none that a lattice can
// be made of.
template <int kDims, typename T>
__device__ bool simplex_of_point(const LatticePoints<T>& points,
                                 const LatticeEmbedding<T>& embedding, std::int64_t image,
                                 std::int64_t point, Simplex<kDims, T>& simplex) {
    T feature[kRoomForCorners<kDims>];
    const bool read = read_features(points, image, point, feature);
    if (read && find_simplex(embedding, feature, simplex)) return true;
    for (int i = 0; i < kRoomForCorners<kDims>; ++i) feature[i] = 0;
    find_simplex(embedding, feature, simplex);
    return false;
}

// write(r, weight) for each corner r.
template <int kDims, typename T, typename Write>
__device__ void for_each_weight(const Simplex<kDims, T>& simplex, int dims, Write&& write) {
    const int d = kDims > 0 ? kDims : dims;
    write(0, weight_of_origin(simplex.sorted[0], simplex.sorted[d]));
    for (int r = 1; r <= d; ++r)
        write(r, weight_of_corner(simplex.sorted[d - r], simplex.sorted[d - r + 1]));
}

// write(r, words) for each corner r, with its key. kWords: as kDims.
template <int kDims, int kWords, typename T, typename Write>
__device__ void for_each_key(const KeyLayout& layout, const Simplex<kDims, T>& simplex, int dims,
                             std::int64_t image, Write&& write) {
    const int d = kDims > 0 ? kDims : dims;
    std::uint64_t key[kWords > 0 ? kWords : kMaxKeyWords] = {};
    const auto word_of = [&](int i) { return kWords == 1 ? 0 : layout.word[i]; };
    key[kWords == 1 ? 0 : layout.image_word] = static_cast<std::uint64_t>(image)
                                               << (layout.image_shift % 64);
    for (int i = 0; i < d; ++i) {
        const std::int32_t m = simplex.origin[i] - simplex.origin[d] - layout.low[i];
        key[word_of(i)] += static_cast<std::uint64_t>(m) << layout.shift[i];
    }
    write(0, key);
    // Corner r: coordinates step on by one, and the last r of the order go d+1 back. The difference
    // to x_d is what counts: so only those of one rank change from corner to corner.
    for (int r = 1; r <= d; ++r) {
        const int last = d - r + 1;
        for (int i = 0; i < d; ++i) {
            const std::uint64_t step = key_step(layout, i);
            if (simplex.rank[i] == last) key[word_of(i)] -= step;
            if (simplex.rank[d] == last) key[word_of(i)] += step;
        }
        write(r, key);
    }
}

}  // namespace wsss_fast::cuda
