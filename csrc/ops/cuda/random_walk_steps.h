#pragma once

#include <cstdint>

#include "common/cuda/place.h"
#include "ops/cuda/random_walk_images.h"

// The steps of a walk, forward and of its gradient. Each reads what the one before wrote, in other
// blocks too. All of them are one launch, with barriers of the whole grid in between, where the
// device holds its blocks at the same time and none has more than a few items a step; else each
// step is a launch.
namespace wsss_fast::cuda {

// Packs of at most so many maps: what a step of `arrays` arrays loads of them for a tile, up to
// `reach` pixels around it, has to fit into the shared memory of a block.
template <typename T>
int most_of_pack(int reach, int arrays);

// From x = P_0(T) x, step after step, in turn in `other_x` and `x`.
template <typename T>
struct WalkSteps {
    std::int64_t count;
    // Chebyshev polynomials, whose sum with these coefficients, from the second on, is added to
    // `sum`, unless that is null. Null: plain steps.
    const T* coefficients;
};
template <typename T>
void take_steps(const WalkTable<T>& table, int width, const WalkSteps<T>& steps,
                const Place& place);

// The gradient of images of one size.
template <typename T>
struct WalkGradientArrays {
    // Packs, as in WalkImages:
    T* grad;  // what comes in, over the degree
    T* z;
    T* other_z;
    T* pairs;   // laid out like the weights
    T* pixels;  // [images][height][stride]
};

// Back from x_K in `other_x` and x_(K-1) in `x` to x_0, K = count, and from z = c_K grad and
// other_z = 0 to the gradient with respect to x_0 over the degree, in `z` for even K, else in
// `other_z`. In passing
//   pairs  += scale * (z_i - z_j) (x_j - x_i)   of each pixel i and its neighbour j
//   pixels += scale * z_i (T x - x)_i           (scale: 2, in the last step 1)
template <typename T>
struct WalkGradientSteps {
    std::int64_t count;
    const T* coefficients;  // [count + 1]
    WalkGradientArrays<T> of[kBatchesOfTable];
};
template <typename T>
void take_gradient_steps(const WalkTable<T>& table, int width, const WalkGradientSteps<T>& steps,
                         const Place& place);

}  // namespace wsss_fast::cuda
