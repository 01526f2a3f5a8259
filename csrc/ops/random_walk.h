#pragma once

#include <cstdint>
#include <vector>

#include "common/parallel.h"

namespace wsss_fast {

enum class WalkMethod {
    kChebyshev,  // a short sum of Chebyshev polynomials of the transition matrix
    kPower,      // every step of the walk
};

// Images of one size. The images of a batch are walked independently.
template <typename T>
struct WalkBatch {
    const T* cam;         // [images, maps, height, width], finite
    const T* boundary;    // [images, height, width], in [0, 1]
    T* out;               // [images, maps, height, width], written
    std::int64_t images;  // may be 0
    std::int64_t maps;    // may be 0
    std::int64_t height;  // at least 1
    std::int64_t width;   // at least 1
};

// out = (cam * (1 - boundary)) . T^steps, T = S / column sums of S, where S holds the affinity
// (1 - largest boundary on the path) ** beta of pixels inside the radius (common/paths.h) and 1 on
// its diagonal. S is never built as a matrix: a pixel has 2 * paths neighbours, and their weights
// are laid out in the order in which a step reads them.
template <typename T>
struct RandomWalkParams {
    const WalkBatch<T>* batches;  // [batch_count]: any mixture of sizes
    std::int64_t batch_count;     // may be 0
    int radius;                   // at least 2
    double beta;                  // exponent of the affinity, at least 0
    std::int64_t steps;           // length of the walk, at least 1
    WalkMethod method;            // kChebyshev is exact to `tol`, kPower is exact
    double tol;                   // kChebyshev: bound on the sum of dropped coefficients, in [0, 1)
    void* workspace;              // random_walk_workspace_bytes, aligned to 64 bytes
    Execution execution;
};

// Depends on the sizes, the radius and the number of threads: every image under way has its own
// piece.
template <typename T>
std::int64_t random_walk_workspace_bytes(const RandomWalkParams<T>& params);

template <typename T>
void random_walk(const RandomWalkParams<T>& params);

// c with x^n ~ sum over k of c[k] P_k(x) on [-1, 1], P_k the Chebyshev polynomials: the smallest
// degree whose dropped coefficients sum to at most tol. The kept ones are scaled to sum to 1, which
// is what all of them sum to, so that x = 1 (a constant map) stays exact.
std::vector<double> chebyshev_of_power(std::int64_t n, double tol);

}  // namespace wsss_fast
