#pragma once

#include <cstdint>
#include <type_traits>

#include "common/host_device.h"

// Numbers side by side that a thread loads and stores at once.
namespace wsss_fast::cuda {

// Aligned to what one load can take, 16 bytes at the most.
template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth < 16 ? sizeof(T) * kWidth : 16) Pack {
    T value[kWidth];
};

template <int kWidth, typename T>
WSSS_FAST_HOST_DEVICE const Pack<T, kWidth>* packs_at(const T* values) {
    return reinterpret_cast<const Pack<T, kWidth>*>(values);
}
template <int kWidth, typename T>
WSSS_FAST_HOST_DEVICE Pack<T, kWidth>* packs_at(T* values) {
    return reinterpret_cast<Pack<T, kWidth>*>(values);
}

// How a row of channels lies in memory.
struct RowShape {
    int width;           // channels of a pack: 1, 2 or 4
    std::int64_t packs;  // of a row

    std::int64_t channels() const { return width * packs; }
};

inline RowShape row_shape(std::int64_t channels) {
    const int width = channels >= 3 ? 4 : static_cast<int>(channels);
    return {width, width > 0 ? (channels + width - 1) / width : 0};
}

// run(std::integral_constant<int, width>)
template <typename Run>
void with_width(int width, Run&& run) {
    if (width == 1) run(std::integral_constant<int, 1>{});
    if (width == 2) run(std::integral_constant<int, 2>{});
    if (width == 4) run(std::integral_constant<int, 4>{});
}

}  // namespace wsss_fast::cuda
