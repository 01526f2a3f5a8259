#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/isa.h"

namespace wsss_fast::WSSS_FAST_ISA {

// e^x for x <= 0, to about one unit in the last place; 0 below -87, NaN for NaN. Without branches
// or table, so that compilers vectorise a loop of it.
inline float exp_nonpositive(float x) {
    const float bounded = x < -87.0f ? -87.0f : x;
    // x = k ln 2 + r. The sum's last bits are k + 127, the exponent field of 2^k.
    constexpr float kRounder = 12582912.0f + 127.0f;
    const float shifted = bounded * 1.44269504f + kRounder;
    const float k = shifted - kRounder;
    const float r = (bounded - k * 0.693145751953125f) - k * 1.4286068203094173e-6f;
    // (e^r - 1 - r) / r^2 interpolated at Chebyshev nodes of [-ln(2)/2, ln(2)/2].
    float q = 1.989099082e-4f;
    q = q * r + 1.393365e-3f;
    q = q * r + 8.333310925e-3f;
    q = q * r + 4.166646493e-2f;
    q = q * r + 1.666666668e-1f;
    q = q * r + 5.000000013e-1f;
    const float e_r = 1.0f + (r + r * r * q);
    std::uint32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    // All bits off below -87, without a branch around the arithmetic: that would keep it scalar.
    bits = (bits << 23) & (0u - static_cast<std::uint32_t>(x >= -87.0f));
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return e_r * power;
}

inline double exp_nonpositive(double x) { return std::exp(x); }

}  // namespace wsss_fast::WSSS_FAST_ISA
