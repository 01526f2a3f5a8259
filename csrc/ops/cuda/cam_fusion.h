#pragma once

#include <cstdint>
#include <vector>

#include "common/cuda/element_type.h"
#include "common/cuda/place.h"
#include "ops/cam_fusion.h"
#include "ops/cuda/sized_input.h"

// Fusion of activation maps on the GPU; see ops/cam_fusion.h.
namespace wsss_fast::cuda {

// One size at which the fused maps are wanted.
struct CamTarget {
    std::int32_t height;         // rows of the whole resampled map
    std::int32_t width;          // columns of the whole resampled map
    std::int32_t crop_height;    // rows kept, from the top
    std::int32_t crop_width;     // columns kept, from the left
    std::vector<void*> outputs;  // for each image, [maps of it][crop_height][crop_width]
};

template <typename T>
struct CamFusionParams {
    std::vector<SizedInput> inputs;         // what is summed, at most kMostInputs
    std::vector<CamTarget> targets;         // what is wanted of the sum
    std::vector<std::int64_t> maps;         // the wanted maps n * K + k, image after image
    std::vector<std::int64_t> image_begin;  // N+1 entries: maps of image n start at image_begin[n]
    Element element = Element::kFloat32;    // of inputs and outputs
    CamRelu relu = CamRelu::kSum;           // where negative values are cut off
    CamNormalize normalize = CamNormalize::kClass;  // which maximum (+ 1e-5) divides
    void* workspace = nullptr;                      // cam_fusion_workspace_bytes(params) bytes
    Place place;                                    // device and stream
};

// Room for the inputs added by size, and for the maxima.
template <typename T>
std::int64_t cam_fusion_workspace_bytes(const CamFusionParams<T>& params);

// Fills the outputs of every target with sum_i bilinear(unflip(inputs_i)), cut off and normalised.
// NaN, infinities and overflows of wanted maps are NaN in the pixels that they touch; where such a
// pixel takes part in a maximum, in all that is divided by it.
template <typename T>
void cam_fusion(const CamFusionParams<T>& params);

}  // namespace wsss_fast::cuda
