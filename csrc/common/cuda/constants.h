#pragma once

#include "common/host_device.h"

namespace wsss_fast::cuda {

// A number that is known when code is compiled. std::integral_constant converts on the host only.
template <int kValue>
struct Constant {
    static constexpr int value = kValue;
    WSSS_FAST_HOST_DEVICE constexpr operator int() const { return kValue; }
};

// body(Constant<i>) for i = kBegin .. kEnd - 1, in a row and not in a loop, whose counter could not
// name a register.
template <int kBegin, int kEnd, typename Body>
WSSS_FAST_HOST_DEVICE void for_constants(Body&& body) {
    if constexpr (kBegin < kEnd) {
        body(Constant<kBegin>{});
        for_constants<kBegin + 1, kEnd>(body);
    }
}

}  // namespace wsss_fast::cuda
