#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/bilinear_sample.h"
#include "common/refuse.h"

namespace wsss_fast {

// The samples of each output position of one axis.
template <typename T>
struct BilinearAxis {
    std::vector<std::int32_t> low;
    std::vector<std::int32_t> high;
    std::vector<T> weight;

    // True when some input sample has no weight in any output (as in a reduction by more than two).
    bool skips = false;
};

// The first `count` of `out` positions of an axis resampled from `in` samples by bilinear_sample.
// `flipped` reads the input back to front.
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
    const T scale = bilinear_scale<T>(in, out);
    const auto samples = static_cast<std::int32_t>(in);
    const std::int32_t last = samples - 1;
    std::int32_t reached = -1;  // every sample up to here has been used
    for (std::size_t i = 0; i < n; ++i) {
        const auto [low, high, weight] =
            bilinear_sample<T>(samples, scale, static_cast<std::int32_t>(i));
        axis.weight[i] = weight;
        axis.low[i] = flipped ? last - low : low;
        axis.high[i] = flipped ? last - high : high;
        if (low > reached + 1) axis.skips = true;
        reached = weight == T(0) ? low : high;
    }
    if (reached < last) axis.skips = true;
    return axis;
}

}  // namespace wsss_fast
