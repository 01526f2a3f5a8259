#pragma once

#include <cmath>

#include "common/cuda/launch.h"

namespace wsss_fast::cuda {

// An infinity as NaN, and NaN as the one whose sign bit is off.
template <typename T>
__device__ T finite_or_nan(T value) {
    return value - value == T(0) ? value : static_cast<T>(NAN);
}

}  // namespace wsss_fast::cuda
