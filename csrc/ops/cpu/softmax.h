#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace wsss_fast {

// e^x for x <= 0, to about one unit in the last place; 0 below -87, NaN for NaN. Without branches
// or table, so that compilers vectorise a loop of it.
inline float exp_not_positive(float x) {
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

inline double exp_not_positive(double x) { return std::exp(x); }

// Softmax in place of `width` values, `Width` if that is not 0; widths other than 1 and 2 are
// multiples of 4, and padding is -infinity. False if the result is not finite: one value was NaN or
// +infinity, or all were -infinity.
template <int Width, typename T>
bool softmax_row(T* __restrict__ x, int width) {
    constexpr int kLanes = Width == 1 || Width == 2 ? Width : 4;
    const int n = Width > 0 ? Width : width;
    T lane[kLanes];
    for (int l = 0; l < kLanes; ++l) lane[l] = x[l];
    for (int c = kLanes; c < n; c += kLanes) {
        for (int l = 0; l < kLanes; ++l) {
            // Both values are loaded first: a choice between loads would become a branch.
            const T value = x[c + l];
            const T best = lane[l];
            lane[l] = value > best ? value : best;
        }
    }
    T most = lane[0];
    for (int l = 1; l < kLanes; ++l) most = lane[l] > most ? lane[l] : most;
    for (int c = 0; c < n; ++c) x[c] = exp_not_positive(x[c] - most);
    for (int l = 0; l < kLanes; ++l) lane[l] = x[l];
    for (int c = kLanes; c < n; c += kLanes) {
        for (int l = 0; l < kLanes; ++l) lane[l] += x[c + l];
    }
    T sum = lane[0];
    for (int l = 1; l < kLanes; ++l) sum += lane[l];
    const T inverse = T(1) / sum;
    for (int c = 0; c < n; ++c) x[c] *= inverse;
    return sum <= std::numeric_limits<T>::max();
}

}  // namespace wsss_fast
