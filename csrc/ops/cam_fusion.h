#pragma once

#include <cstdint>
#include <vector>

#include "common/parallel.h"
#include "common/values.h"

namespace wsss_fast {

enum class CamRelu { kNone, kEach, kSum };
enum class CamNormalize { kNone, kClass, kImage };

// Activation maps of one scale and orientation.
template <typename T>
struct CamInput {
    const T* data;        // [N,K,height,width]
    std::int64_t height;  // rows of a map
    std::int64_t width;   // columns of a map
    bool flipped;         // made from a mirrored image: columns are read back to front
};

// One size at which the fused maps are wanted.
template <typename T>
struct CamTarget {
    std::int64_t height;       // rows of the whole resampled map
    std::int64_t width;        // columns of the whole resampled map
    std::int64_t crop_height;  // rows kept, from the top
    std::int64_t crop_width;   // columns kept, from the left
    std::vector<T*> outputs;   // for each image, [maps of it,crop_height,crop_width]
};

template <typename T>
struct CamFusionParams {
    std::vector<CamInput<T>> inputs;    // what is summed
    std::vector<CamTarget<T>> targets;  // what is wanted of the sum
    std::vector<std::int64_t> maps;     // the wanted maps n * K + k, image after image
    std::vector<std::int64_t>
        image_begin{};             // N+1 entries: maps of image n start at image_begin[n]
    CamRelu relu = CamRelu::kSum;  // where negative values are cut off
    CamNormalize normalize = CamNormalize::kClass;  // which maximum (+ 1e-5) divides
    T* workspace = nullptr;                         // cam_fusion_workspace_bytes(params) bytes
    Execution execution{};                          // how it may run
};

// Size of the scratch memory: the wanted maps at their own resolution, once for each distinct size.
template <typename T>
std::int64_t cam_fusion_workspace_bytes(const CamFusionParams<T>& params);

// Fills the outputs of every target with sum_i bilinear(unflip(inputs_i)), cut off and normalised.
// Returns the first value of a wanted map that is not finite, or so large that the sum might not
// be; the outputs are then unspecified. Maps that are not wanted are not read.
template <typename T>
FiniteResult cam_fusion(const CamFusionParams<T>& params);

}  // namespace wsss_fast
