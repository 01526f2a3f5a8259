#pragma once

#include <cstdint>

#include "common/parallel.h"

namespace wsss_fast {

// The training loss of IRNet on pairs of pixels less than a radius apart, up to its divisions.
//
// A pair is a pixel (y, x + radius - 1) and one of its neighbours (common/paths.h), for the pixels
// of which every path lies inside the map; its affinity a is 1 - the largest
// sigmoid(boundary_logits) on the path. Pairs with a pixel of label 255 take no part. Of the
// others, pairs of equal label are background (label 0) or foreground, the rest are different. With
// D the displacement at the pixel minus that at its neighbour, and (dy, dx) the way from one to the
// other:
enum AffinityDisplacementSum {
    kBackgroundPairs,         // -log(a + 1e-5)
    kForegroundPairs,         // -log(a + 1e-5)
    kDifferentPairs,          // -log(1 + 1e-5 - a)
    kForegroundDisplacement,  // |D - (dy, dx)|, both components
    kBackgroundDisplacement,  // |D|, both components
    kAffinityDisplacementSums,
};
constexpr int kAffinityDisplacementCounts = 3;  // pairs: background, foreground, different

// Neither pass makes anything of the size of the affinity.
template <typename T>
struct AffinityDisplacementParams {
    const T* boundary_logits;    // [images, height, width], no NaN
    const T* displacement;       // [images, 2, height, width], (dy, dx) in pixels, finite
    const std::int32_t* labels;  // [images, height, width], not negative
    T* sums;                     // [kAffinityDisplacementSums]
    std::int64_t* counts;        // [kAffinityDisplacementCounts]
    std::int64_t images;         // may be 0
    std::int64_t height;         // at least radius
    std::int64_t width;          // at least 2 radius - 1
    int radius;                  // at least 2
    Execution execution;
};

// The gradient with respect to logits and displacement. That of a path's maximum goes to one pixel,
// as in ops/path_affinity.h; that of |0| is 0.
template <typename T>
struct AffinityDisplacementBackwardParams {
    const T* grad_sums;          // [kAffinityDisplacementSums]
    const T* boundary_logits;    // [images, height, width], no NaN
    const T* displacement;       // [images, 2, height, width], finite
    const std::int32_t* labels;  // [images, height, width], not negative
    T* grad_boundary_logits;     // [images, height, width], written
    T* grad_displacement;        // [images, 2, height, width], written
    void* workspace;             // affinity_displacement_backward_workspace_bytes, aligned for T
    std::int64_t images;         // may be 0
    std::int64_t height;         // at least radius
    std::int64_t width;          // at least 2 radius - 1
    int radius;                  // at least 2
    Execution execution;
};

template <typename T>
void affinity_displacement(const AffinityDisplacementParams<T>& params);

template <typename T>
std::int64_t affinity_displacement_backward_workspace_bytes(std::int64_t images,
                                                            std::int64_t height, std::int64_t width,
                                                            int radius);

template <typename T>
void affinity_displacement_backward(const AffinityDisplacementBackwardParams<T>& params);

}  // namespace wsss_fast
