#pragma once

#include <cstdint>
#include <type_traits>

#include "common/isa.h"
#include "ops/affinity_displacement.h"
#include "ops/affinity_displacement_numbers.h"
#include "ops/cpu/path_isa.h"

// The hot loops of the loss on pairs, built once for each instruction set: all pairs of the pixels
// of one row.
namespace wsss_fast {

// As wide as T, so that a pixel's labels and values lie in the same lane.
template <typename T>
using PairLabel = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

// Labels are not negative. An unconfident pixel has one label where a pair ends and another
// where it begins, so that two of them are never equal.
constexpr int kUnconfidentLabel = -1;
constexpr int kUnconfidentSource = -2;

// Rows are read, and gradients added to, this far beyond the last pixel, up to a multiple of it.
template <typename T>
constexpr int kPairTile = 64 / static_cast<int>(sizeof(T));

struct PairPath {
    PathPieces pieces;
    std::int64_t target;  // from a pixel to its neighbour, in elements
    int dy;
    int dx;
};

// A row of pixels in the planes of a band, and what surrounds it.
template <typename T>
struct PairRow {
    const PairPath* paths;
    std::int64_t path_count;
    const T* boundary;           // part 0 of common/path_plan.h
    const PairLabel<T>* labels;  // kUnconfidentLabel where there is none
    const T* dy;                 // displacement
    const T* dx;
    std::int64_t count;  // pixels that pairs begin in
};

// Adds what the pairs of some pixels come to.
struct PairSums {
    double sums[kAffinityDisplacementSums] = {};
    std::int64_t counts[kAffinityDisplacementCounts] = {};
};

// The gradient that goes to one row's pairs, and where they add it: planes that lie as those of
// PairRow do.
template <typename T>
struct PairGradients {
    const T* sums;  // [kAffinityDisplacementSums]
    T* boundary;
    T* dy;
    T* dx;
};

template <typename T>
struct PairLoops {
    // out[i] = sigmoid(logits[i])
    void (*sigmoid)(const T* logits, std::int64_t count, T* out);
    // grad[i] *= the derivative of sigmoid, from its value
    void (*sigmoid_backward)(const T* sigmoid, std::int64_t count, T* grad);
    void (*sums)(const PairRow<T>& row, PairSums& sums);
    void (*backward)(const PairRow<T>& row, const PairGradients<T>& gradients);
};

// Those of the set that is in use.
template <typename T>
const PairLoops<T>& pair_loops();

namespace baseline {
template <typename T>
PairLoops<T> make_pair_loops();
}
namespace avx2 {
template <typename T>
PairLoops<T> make_pair_loops();
}
namespace avx512 {
template <typename T>
PairLoops<T> make_pair_loops();
}

}  // namespace wsss_fast
