#pragma once

#include <cmath>

#include "common/host_device.h"

namespace wsss_fast {

// Whether affinities are raised to the power by multiplications: the same ones on the CPU and on
// CUDA.
WSSS_FAST_HOST_DEVICE inline bool is_multiplied_out(double exponent) {
    constexpr double kLargest = 64;
    return exponent >= 0 && exponent == std::floor(exponent) && exponent <= kLargest;
}

}  // namespace wsss_fast
