#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace wsss_fast::cuda {

// t / n and t % n: in 32 bits where they fit, which is several times faster on a device.
struct Quotient {
    std::int64_t whole;
    std::int64_t rest;
};
inline WSSS_FAST_HOST_DEVICE Quotient divide(std::int64_t t, std::int64_t n) {
    if (((t | n) >> 32) == 0) {
        const auto whole = static_cast<std::uint32_t>(t) / static_cast<std::uint32_t>(n);
        return {whole, t - std::int64_t{whole} * n};
    }
    return {t / n, t % n};
}

}  // namespace wsss_fast::cuda
