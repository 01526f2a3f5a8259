#pragma once

#include <cstdint>
#include <limits>

#include "common/parallel.h"

namespace wsss_fast {

enum class WalkMethod {
    kChebyshev,  // a short sum of Chebyshev polynomials of the transition matrix
    kPower,      // every step of the walk
};

// Which walk: of `steps` steps by T = S / column sums of S, where S holds the affinity
// (1 - largest boundary on the path) ** beta of pixels inside the radius (common/paths.h) and 1 on
// its diagonal.
struct WalkOptions {
    int radius = 5;                              // at least 2
    double beta = 10;                            // exponent of the affinity, at least 0
    std::int64_t steps = 256;                    // at least 0
    WalkMethod method = WalkMethod::kChebyshev;  // kPower is exact
    double tol = 1e-5;  // kChebyshev: bound on the sum of dropped coefficients, in [0, 1)
};

// Weights below this can change nothing in a sum that holds a 1 (every pixel's affinity with
// itself), and as denormals they would be slow to compute with: they are 0.
template <typename T>
constexpr T kLeastAffinity = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();

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

// out = (cam * (1 - boundary)) . T^steps. S is never built as a matrix: each pixel keeps its
// affinities with the neighbours of one half-plane, and reads those of the other from them.
template <typename T>
struct RandomWalkParams {
    const WalkBatch<T>* batches;  // [batch_count]: any mixture of sizes
    std::int64_t batch_count;     // may be 0
    WalkOptions options;
    void* workspace;  // random_walk_workspace_bytes, aligned to 64 bytes
    Execution execution;
};

// Depends on the sizes, the radius and the number of threads: every image under way has its own
// piece.
template <typename T>
std::int64_t random_walk_workspace_bytes(const RandomWalkParams<T>& params);

template <typename T>
void random_walk(const RandomWalkParams<T>& params);

// The gradients of images of one size.
template <typename T>
struct WalkGradientBatch {
    const T* grad_out;    // [images, maps, height, width]
    const T* cam;         // [images, maps, height, width]; not read where grad_boundary is null
    const T* boundary;    // [images, height, width], in [0, 1]
    T* grad_cam;          // [images, maps, height, width], written
    T* grad_boundary;     // [images, height, width], written; null: not wanted, which saves most
    std::int64_t images;  // may be 0
    std::int64_t maps;    // may be 0
    std::int64_t height;  // at least 1
    std::int64_t width;   // at least 1
};

// The gradient of random_walk. That of a path's affinity goes to one of its pixels, the first that
// holds the maximum; where a wall makes the affinity of a beta below 1 infinitely steep, it is 0.
template <typename T>
struct RandomWalkBackwardParams {
    const WalkGradientBatch<T>* batches;  // [batch_count]
    std::int64_t batch_count;             // may be 0
    WalkOptions options;                  // those of the forward pass
    void* workspace;                      // random_walk_backward_workspace_bytes, aligned to 64
    Execution execution;
};

template <typename T>
std::int64_t random_walk_backward_workspace_bytes(const RandomWalkBackwardParams<T>& params);

template <typename T>
void random_walk_backward(const RandomWalkBackwardParams<T>& params);

}  // namespace wsss_fast
