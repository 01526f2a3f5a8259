#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace wsss_fast {

// exp(x) for x <= 0, written so that a loop over it vectorises in plain SSE2 or NEON. Within about
// 1e-7 of the truth, relatively; below -87, where exp leaves the range of normal floats, it stays
// at exp(-87) = 2e-38.
inline float exp_nonpositive(float x) {
    constexpr float kLog2E = 1.44269504088896341F;
    // ln 2 in two parts, the first with so few bits that its product with n is exact.
    constexpr float kLn2High = 0.693359375F;
    constexpr float kLn2Low = -2.12194440054690583e-4F;
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the sum.
    constexpr float kRound = 12582912.0F;
    x = x > -87.0F ? x : -87.0F;
    const float shifted = x * kLog2E + kRound;
    const float n = shifted - kRound;
    const float r = (x - n * kLn2High) - n * kLn2Low;
    // Taylor series: |r| <= ln(2) / 2, so the next term is below 6e-9.
    float p = 1.0F / 5040.0F;
    p = p * r + 1.0F / 720.0F;
    p = p * r + 1.0F / 120.0F;
    p = p * r + 1.0F / 24.0F;
    p = p * r + 1.0F / 6.0F;
    p = p * r + 0.5F;
    p = p * r + 1.0F;
    p = p * r + 1.0F;
    std::uint32_t power;
    std::uint32_t bits;
    std::memcpy(&power, &shifted, sizeof(power));
    std::memcpy(&bits, &p, sizeof(bits));
    bits += power << 23;  // times 2^n
    std::memcpy(&p, &bits, sizeof(p));
    return p;
}

inline double exp_nonpositive(double x) { return std::exp(x); }

}  // namespace wsss_fast
