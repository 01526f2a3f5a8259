#pragma once

#include <cstdint>
#include <vector>

#include "common/cuda/element_type.h"
#include "common/cuda/place.h"
#include "ops/cuda/sized_input.h"
#include "ops/tta.h"

// Averaging of test-time predictions on the GPU; see ops/tta.h.
namespace wsss_fast::cuda {

struct TtaParams {
    std::vector<SizedInput> inputs;                      // what is averaged, at most kMostInputs
    std::int64_t images = 0;                             // N
    std::int64_t classes = 0;                            // C, at least 1
    std::int32_t height = 0;                             // rows of the result
    std::int32_t width = 0;                              // columns of the result
    TtaActivation activation = TtaActivation::kSoftmax;  // applied before the average
    Element element = Element::kFloat32;                 // of the inputs and the mean
    void* out = nullptr;        // the mean [N][C][height][width], or labels [N][height][width]
    int label_bytes = 0;        // 1 (unsigned), 2 or 4; 0 for the mean
    void* workspace = nullptr;  // tta_workspace_bytes<T>(params) bytes
    Place place;                // device and stream
};

// Room for the sums of a softmax that a block does not hold, which its inputs' sizes decide too;
// elsewhere next to nothing.
template <typename T>
std::int64_t tta_workspace_bytes(const TtaParams& params);

// Computes in T. NaN, infinities and overflows are NaN in all classes of the pixels that they
// touch, without a softmax in their own class; a label there says nothing.
template <typename T>
void tta_merge(const TtaParams& params);

}  // namespace wsss_fast::cuda
