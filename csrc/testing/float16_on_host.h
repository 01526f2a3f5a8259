#pragma once

#include <cmath>
#include <cstdint>

// What <cuda_fp16.h> does on a device.
namespace wsss_fast::testing {

inline float from_float16(std::uint16_t bits) {
    const int exponent = (bits >> 10) & 31;
    const int fraction = bits & 1023;
    float magnitude = std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
    if (exponent == 0) magnitude = std::ldexp(static_cast<float>(fraction), -24);
    if (exponent == 31) magnitude = fraction == 0 ? INFINITY : NAN;
    return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

// Rounded half to even.
inline std::uint16_t to_float16(float value) {
    const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
    if (std::isnan(value)) return 0x7FFF;
    const float magnitude = std::fabs(value);
    if (magnitude == 0.0f) return sign;  // which has no exponent
    if (magnitude >= 65520.0f) return static_cast<std::uint16_t>(sign | 0x7C00);
    // In units of the last bit: that of the least normal numbers for all below them.
    int exponent = 0;
    std::frexp(magnitude, &exponent);
    const int unit = exponent - 11 < -24 ? -24 : exponent - 11;
    const auto units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, -unit)));
    // A carry out of the fraction goes into the exponent, as it should.
    const int bits = unit == -24 ? units : units - 1024 + ((unit + 25) << 10);
    return static_cast<std::uint16_t>(sign | bits);
}

}  // namespace wsss_fast::testing
