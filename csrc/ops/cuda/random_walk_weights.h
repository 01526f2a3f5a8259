#pragma once

#include <cstdint>

#include "common/cuda/place.h"
#include "ops/cuda/random_walk_images.h"
#include "ops/cuda/random_walk_maps.h"
#include "ops/cuda/random_walk_steps.h"

// From the boundary to the weights of a walk, and back with their gradient.
namespace wsss_fast::cuda {

// The affinity of each pixel with its neighbours, and 1 / (1 + what it has with all of them).
template <typename T>
void build_weights(const WalkTable<T>& table, const WalkMaps& maps, double beta,
                   const Place& place);

// Adds the gradient of the weights, which `steps` has as pairs and pixels, to that of the boundary,
// [images][height][width] for each batch. The pairs are changed.
template <typename T>
void add_slopes(const WalkTable<T>& table, const WalkMaps& maps, double beta,
                const WalkGradientSteps<T>& steps, T* const* grad_boundary, void* workspace,
                const Place& place);
template <typename T>
std::int64_t slopes_workspace_bytes(const WalkTable<T>& table, const WalkMaps& maps);

}  // namespace wsss_fast::cuda
