#pragma once

#include <cstdint>

namespace wsss_fast::cuda {

// How many inputs cam_fusion and tta take at most: kernels have them in their parameters.
constexpr int kMostInputs = 32;

// Maps or predictions of one scale and orientation.
struct SizedInput {
    const void* data;     // [N][K][height][width]
    std::int32_t height;  // rows of a map
    std::int32_t width;   // columns of a map
    bool flipped;         // made from a mirrored image: columns are read back to front
};

}  // namespace wsss_fast::cuda
