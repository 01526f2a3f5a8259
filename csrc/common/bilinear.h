#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/refuse.h"

namespace wsss_fast {

// Where each output position of one axis takes its two input samples, and the weight of the second:
// out[i] = (1 - weight[i]) * in[low[i]] + weight[i] * in[high[i]].
template <typename T>
struct BilinearAxis {
    std::vector<std::int32_t> low;
    std::vector<std::int32_t> high;
    std::vector<T> weight;

    // True when some input sample has no weight in any output (as in a reduction by more than two).
    bool skips = false;
};

// The first `count` of `out` positions of an axis resampled from `in` samples, pixel centres at
// halves (align_corners=False). The coordinate is formed in T by torch's own steps, so the weights
// are torch's to the bit. `flipped` reads the input back to front.
template <typename T>
BilinearAxis<T> bilinear_axis(std::int64_t in, std::int64_t out, std::int64_t count, bool flipped) {
    if (in > std::numeric_limits<std::int32_t>::max() ||
        out > std::numeric_limits<std::int32_t>::max()) {
        refuse("size: expected fewer than 2^31 pixels along an axis");
    }
    BilinearAxis<T> axis;
    const auto n = static_cast<std::size_t>(count);
    axis.low.resize(n);
    axis.high.resize(n);
    axis.weight.resize(n);
    const T scale = static_cast<T>(in) / static_cast<T>(out);
    const auto last = static_cast<std::int32_t>(in - 1);
    std::int32_t reached = -1;  // every sample up to here has been used
    for (std::size_t i = 0; i < n; ++i) {
        T source = scale * (static_cast<T>(i) + T(0.5)) - T(0.5);
        if (source < T(0)) source = T(0);
        std::int32_t low = static_cast<std::int32_t>(source);
        if (low > last) low = last;
        const std::int32_t high = low < last ? low + 1 : low;
        T weight = source - static_cast<T>(low);
        if (weight > T(1)) weight = T(1);
        axis.weight[i] = high == low ? T(0) : weight;
        axis.low[i] = flipped ? last - low : low;
        axis.high[i] = flipped ? last - high : high;
        if (low > reached + 1) axis.skips = true;
        reached = axis.weight[i] == T(0) ? low : high;
    }
    if (reached < last) axis.skips = true;
    return axis;
}

}  // namespace wsss_fast
