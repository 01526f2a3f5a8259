#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/host_device.h"

namespace wsss_fast::WSSS_FAST_ISA {

// e^x = power(shifted) * e_r, where the last bits of shifted are the exponent field of the power.
// Value is a float or a pack of them.
template <typename Value>
struct ExpParts {
    Value shifted;
    Value e_r;
};

template <typename Value>
inline WSSS_FAST_HOST_DEVICE ExpParts<Value> exp_parts(Value bounded) {
    // x = k ln 2 + r. The sum's last bits are k + 127, the exponent field of 2^k.
    constexpr float kRounder = 12582912.0f + 127.0f;
    const Value shifted = bounded * 1.44269504f + kRounder;
    const Value k = shifted - kRounder;
    const Value r = (bounded - k * 0.693145751953125f) - k * 1.4286068203094173e-6f;
    // (e^r - 1 - r) / r^2 interpolated at Chebyshev nodes of [-ln(2)/2, ln(2)/2]. In pairs of
    // powers: a chain of seven steps in place of eleven.
    const Value square = r * r;
    const Value high = r * 1.989099082e-4f + 1.393365e-3f;
    const Value middle = r * 8.333310925e-3f + 4.166646493e-2f;
    const Value low = r * 1.666666668e-1f + 5.000000013e-1f;
    const Value q = (high * square + middle) * square + low;
    return {shifted, (square * q + r) + 1.0f};
}

// e^x for x <= 0, to about one unit in the last place; 0 below -87, NaN for NaN. Without branches
// or table, so that compilers vectorise a loop of it.
inline WSSS_FAST_HOST_DEVICE float exp_nonpositive(float x) {
    const auto [shifted, e_r] = exp_parts(x < -87.0f ? -87.0f : x);
    std::uint32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    // All bits off below -87, without a branch around the arithmetic: that would keep it scalar.
    bits = (bits << 23) & (0u - static_cast<std::uint32_t>(x >= -87.0f));
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return e_r * power;
}

inline WSSS_FAST_HOST_DEVICE double exp_nonpositive(double x) { return std::exp(x); }

template <typename T>
inline WSSS_FAST_HOST_DEVICE T sigmoid(T x) {
    const T e = exp_nonpositive(x < T(0) ? x : -x);
    const T share = T(1) / (T(1) + e);
    return x < T(0) ? e * share : share;
}

}  // namespace wsss_fast::WSSS_FAST_ISA
