#pragma once

#include <cstdint>

#include "common/cuda/launch.h"

namespace wsss_fast::cuda {

// Writes a label of 1 (unsigned), 2 or 4 bytes.
inline __device__ void store_label(void* memory, int bytes, std::int64_t i, std::int32_t label) {
    if (bytes == 1) {
        static_cast<std::uint8_t*>(memory)[i] = static_cast<std::uint8_t>(label);
    } else if (bytes == 2) {
        static_cast<std::int16_t*>(memory)[i] = static_cast<std::int16_t>(label);
    } else {
        static_cast<std::int32_t*>(memory)[i] = label;
    }
}

}  // namespace wsss_fast::cuda
