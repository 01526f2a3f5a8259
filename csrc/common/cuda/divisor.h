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

    __device__ T under(T number) const {
        const T size = std::fabs(number);
        if (size > most_ || (size < T(1) / kOfNumber && number != T(0))) return number / value_;
        T quotient = number * inverse_;
        for (int i = 0; i < 2; ++i) {
            quotient = std::fma(std::fma(-value_, quotient, number), inverse_, quotient);
        }
        return quotient;
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
