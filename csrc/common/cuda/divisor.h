#pragma once

#include <cmath>
#include <type_traits>

#include "common/cuda/launch.h"

#if defined(__CUDACC__) || defined(WSSS_FAST_CUDA_ON_HOST)

namespace wsss_fast::cuda {

// Divides many numbers by one, with the quotient's own bits, in half of a division's
// instructions. The quotient by way of the inverse is off by some units in the last place, and
// after one correction by its remainder within one of them; then, by Markstein's theorem, another
// one rounds it as division does. A remainder is exact as long as no part of it is too small.
template <typename T>
class Divisor {
  public:
    __device__ explicit Divisor(T value)
        : value_(value),
          inverse_(T(1) / value),
          most_(value >= T(1) / kOfDivisor && value <= kOfDivisor ? kOfNumber : T(-1)) {}

    // In place: one branch for all of them, so that their steps can be taken side by side.
    template <int kCount>
    __device__ void divide(T (&numbers)[kCount]) const {
        T quotients[kCount];
        bool usual = true;
        for (int i = 0; i < kCount; ++i) {
            const T size = std::fabs(numbers[i]);
            const bool too_small = (size < T(1) / kOfNumber) & (numbers[i] != T(0));
            usual = usual & !(size > most_) & !too_small;
            T quotient = numbers[i] * inverse_;
            for (int step = 0; step < 2; ++step) {
                const T left = std::fma(-value_, quotient, numbers[i]);
                quotient = std::fma(left, inverse_, quotient);
            }
            quotients[i] = quotient;
        }
        for (int i = 0; i < kCount; ++i) {
            numbers[i] = usual ? quotients[i] : numbers[i] / value_;
        }
    }

  private:
    // Powers of two.
    static constexpr T kOfDivisor = T(1 << 20);
    static constexpr T kOfNumber = static_cast<T>(std::is_same_v<T, float> ? 0x1p100 : 0x1p900);

    T value_;
    T inverse_;
    T most_;  // of numbers that are not divided by division; -1: of none
};

}  // namespace wsss_fast::cuda

#endif
