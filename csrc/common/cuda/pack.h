#pragma once

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

// run(std::integral_constant<int, width>)
template <typename Run>
void with_width(int width, Run&& run) {
    if (width == 1) run(std::integral_constant<int, 1>{});
    if (width == 2) run(std::integral_constant<int, 2>{});
    if (width == 4) run(std::integral_constant<int, 4>{});
}

}  // namespace wsss_fast::cuda
