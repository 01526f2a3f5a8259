#pragma once

#include <cmath>

#include "common/cuda/launch.h"
#include "common/exp_nonpositive.h"

// For inner loops that are not held to the CPU's bits: what a GPU does in one instruction or two.
namespace wsss_fast::cuda {

// a * b + c, rounded once.
inline __device__ float fused(float a, float b, float c) { return std::fmaf(a, b, c); }
inline __device__ double fused(double a, double b, double c) { return std::fma(a, b, c); }

// e^x for x <= 0, NaN for NaN. In float its error is 2^-22 of it and 2^-23 |x|, and what lies
// below the normal numbers is 0; two instructions in place of some 25.
inline __device__ float fast_exp_nonpositive(float x) {
#if defined(__CUDA_ARCH__)
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * 1.44269504f));
    return power;
#else
    return exp_nonpositive(x);
#endif
}
inline __device__ double fast_exp_nonpositive(double x) { return exp_nonpositive(x); }

}  // namespace wsss_fast::cuda
