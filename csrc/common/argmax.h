#pragma once

#include <cstdint>

#include "common/isa.h"

namespace wsss_fast::WSSS_FAST_ISA {

// The first class with the greatest value, for each of the points side by side in planes
// [classes][kPoints].
template <int kPoints, typename T>
void argmax(const T* planes, std::int64_t classes, std::int32_t* labels) {
    T best[kPoints];
    for (int p = 0; p < kPoints; ++p) {
        best[p] = planes[p];
        labels[p] = 0;
    }
    for (std::int64_t c = 1; c < classes; ++c) {
        const T* x = planes + c * kPoints;
        const auto label = static_cast<std::int32_t>(c);
        for (int p = 0; p < kPoints; ++p) {
            // Both values are loaded first: a choice between loads would become a branch.
            const T value = x[p];
            const bool better = value > best[p];
            best[p] = better ? value : best[p];
            labels[p] = better ? label : labels[p];
        }
    }
}

}  // namespace wsss_fast::WSSS_FAST_ISA
