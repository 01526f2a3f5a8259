#pragma once

#include "common/cuda/launch.h"
#include "common/exp_nonpositive.h"

// Arithmetic for sums of many terms, where a device has it in fewer instructions. Not for where a
// vertex lies: that is decided by the last bit, as on the CPU. On the host they are plain.
namespace wsss_fast::cuda {

// a b + c in one rounding; kernels are compiled without the compiler's own fusing.
inline __device__ float multiply_add(float a, float b, float c) {
#if defined(WSSS_FAST_CUDA_ON_HOST)
    return a * b + c;
#else
    return __fmaf_rn(a, b, c);
#endif
}
inline __device__ double multiply_add(double a, double b, double c) {
#if defined(WSSS_FAST_CUDA_ON_HOST)
    return a * b + c;
#else
    return __fma_rn(a, b, c);
#endif
}

// e^x for x <= 0: two instructions in place of 20, to some units in the last place for each ten
// that x lies below 0; 0 below -87, NaN for NaN.
inline __device__ float fast_exp_nonpositive(float x) {
#if defined(WSSS_FAST_CUDA_ON_HOST)
    return exp_nonpositive(x);
#else
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * 1.44269504f));
    return power;
#endif
}
inline __device__ double fast_exp_nonpositive(double x) { return exp_nonpositive(x); }

// 1 / x for x >= 1, to a unit in the last place.
inline __device__ float fast_inverse(float x) {
#if defined(WSSS_FAST_CUDA_ON_HOST)
    return 1.0f / x;
#else
    float inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(x));
    return inverse;
#endif
}
inline __device__ double fast_inverse(double x) { return 1.0 / x; }

}  // namespace wsss_fast::cuda
