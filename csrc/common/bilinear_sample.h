#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace wsss_fast {

// Where a position of a resampled axis takes its two input samples, and the weight of the second:
// out[i] = (1 - weight) * in[low] + weight * in[high].
template <typename T>
struct BilinearSample {
    std::int32_t low;
    std::int32_t high;
    T weight;
};

// Input samples a position of the output, for bilinear_sample.
template <typename T>
T bilinear_scale(std::int64_t in, std::int64_t out) {
    return static_cast<T>(in) / static_cast<T>(out);
}

// Position i of an axis resampled from `in` samples, pixel centres at halves (align_corners=False).
// The coordinate is formed in T by torch's own steps, so the weights are torch's to the bit, on the
// CPU and on CUDA.
template <typename T>
WSSS_FAST_HOST_DEVICE BilinearSample<T> bilinear_sample(std::int32_t in, T scale, std::int32_t i) {
    T source = scale * (static_cast<T>(i) + T(0.5)) - T(0.5);
    if (source < T(0)) source = T(0);
    const std::int32_t last = in - 1;
    std::int32_t low = static_cast<std::int32_t>(source);
    if (low > last) low = last;
    const std::int32_t high = low < last ? low + 1 : low;
    T weight = source - static_cast<T>(low);
    if (weight > T(1)) weight = T(1);
    return {low, high, high == low ? T(0) : weight};
}

}  // namespace wsss_fast
