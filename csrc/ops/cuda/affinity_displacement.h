#pragma once

#include <cstdint>

#include "common/cuda/element_type.h"
#include "common/cuda/place.h"

// The training loss of IRNet on the GPU, up to its divisions; see ops/affinity_displacement.h for
// what the sums and counts are. Computed in T.
namespace wsss_fast::cuda {

// NaN in the logits or the displacement makes NaN of the sums that it takes part in. Labels that
// are negative or above 2^31 - 1 take no part, like 255.
struct PairInputs {
    const void* boundary_logits = nullptr;  // [images][height][width]
    const void* displacement = nullptr;     // [images][2][height][width], (dy, dx) in pixels
    Element element = Element::kFloat32;    // of both, and of their gradients
    const void* labels = nullptr;           // [images][height][width]
    int label_bytes = 1;                    // 1, 2, 4 or 8
    bool label_signed = false;              // whether labels may be negative
    std::int64_t images = 0;                // may be 0
    std::int64_t height = 0;                // at least radius
    std::int64_t width = 0;                 // at least 2 radius - 1
    int radius = 0;                         // from 2 to 64
};

template <typename T>
struct AffinityDisplacementParams {
    PairInputs inputs;               // what the loss is of
    T* sums = nullptr;               // [kAffinityDisplacementSums]
    std::int64_t* counts = nullptr;  // [kAffinityDisplacementCounts]
    void* workspace = nullptr;       // of affinity_displacement_workspace_bytes()
    Place place;                     // device and stream
};

template <typename T>
struct AffinityDisplacementBackwardParams {
    PairInputs inputs;                     // what the loss was of
    const T* grad_sums = nullptr;          // [kAffinityDisplacementSums]
    void* grad_boundary_logits = nullptr;  // [images][height][width], written
    void* grad_displacement = nullptr;     // [images][2][height][width], written
    void* workspace = nullptr;             // of affinity_displacement_backward_workspace_bytes()
    Place place;                           // device and stream
};

// Of either, about 16 bytes a pixel, and 20 more for the way back; twice that for double.
template <typename T>
std::int64_t affinity_displacement_workspace_bytes(const PairInputs& inputs);
template <typename T>
std::int64_t affinity_displacement_backward_workspace_bytes(const PairInputs& inputs);

template <typename T>
void affinity_displacement(const AffinityDisplacementParams<T>& params);

// The gradient of an image does not depend on the others.
template <typename T>
void affinity_displacement_backward(const AffinityDisplacementBackwardParams<T>& params);

}  // namespace wsss_fast::cuda
