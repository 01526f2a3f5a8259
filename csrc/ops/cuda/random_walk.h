#pragma once

#include <cstdint>

#include "common/cuda/element_type.h"
#include "common/cuda/place.h"
#include "ops/random_walk.h"

// The random walk on the GPU; see ops/random_walk.h. NaN, infinities and a boundary outside [0, 1]
// become NaN where they are and where the walk leads from there, in their own image.
namespace wsss_fast::cuda {

// Images of one size. Arrays hold numbers of the parameters' element type.
struct WalkBatch {
    const void* cam = nullptr;       // [images, maps, height, width]
    const void* boundary = nullptr;  // [images, height, width]
    void* out = nullptr;             // [images, maps, height, width], written
    std::int64_t images = 0;         // may be 0
    std::int64_t maps = 0;           // may be 0
    std::int64_t height = 0;         // at least 1
    std::int64_t width = 0;          // at least 1
};

template <typename T>
struct RandomWalkParams {
    const WalkBatch* batches = nullptr;   // [batch_count]: any mixture of sizes
    std::int64_t batch_count = 0;         // may be 0
    WalkOptions options;                  // which walk
    Element element = Element::kFloat32;  // of all arrays; computed with is T
    void* workspace = nullptr;            // of random_walk_workspace_bytes()
    Place place;                          // device and stream
};

template <typename T>
std::int64_t random_walk_workspace_bytes(const RandomWalkParams<T>& params);

template <typename T>
void random_walk(const RandomWalkParams<T>& params);

// The gradients of images of one size.
struct WalkGradientBatch {
    const void* grad_out = nullptr;  // [images, maps, height, width]
    const void* cam = nullptr;       // [images, maps, height, width]; null with grad_boundary
    const void* boundary = nullptr;  // [images, height, width]
    void* grad_cam = nullptr;        // [images, maps, height, width], written
    void* grad_boundary = nullptr;   // [images, height, width], written; null: not wanted
    std::int64_t images = 0;         // may be 0
    std::int64_t maps = 0;           // may be 0
    std::int64_t height = 0;         // at least 1
    std::int64_t width = 0;          // at least 1
};

template <typename T>
struct RandomWalkBackwardParams {
    const WalkGradientBatch* batches = nullptr;  // [batch_count]
    std::int64_t batch_count = 0;                // may be 0
    WalkOptions options;                         // those of the forward pass
    Element element = Element::kFloat32;         // of all arrays; computed with is T
    void* workspace = nullptr;                   // of random_walk_backward_workspace_bytes()
    Place place;                                 // device and stream
};

template <typename T>
std::int64_t random_walk_backward_workspace_bytes(const RandomWalkBackwardParams<T>& params);

template <typename T>
void random_walk_backward(const RandomWalkBackwardParams<T>& params);

}  // namespace wsss_fast::cuda
