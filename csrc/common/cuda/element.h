#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "common/cuda/element_type.h"
#include "common/cuda/launch.h"
#include "common/host_device.h"
#if defined(WSSS_FAST_CUDA_ON_HOST)
#include "testing/float16_on_host.h"
#else
#include <cuda_fp16.h>
#endif

// Numbers in memory of a type that is chosen at run time. Arithmetic is in float or double.
namespace wsss_fast::cuda {

namespace detail {

template <typename To, typename From>
__device__ To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

inline __device__ float from_bfloat16(std::uint16_t bits) {
    return bits_as<float>(static_cast<std::uint32_t>(bits) << 16);
}

// Rounded half to even; NaN stays NaN.
inline __device__ std::uint16_t to_bfloat16(float value) {
    const auto bits = bits_as<std::uint32_t>(value);
    if (value != value) return 0x7FC0;
    return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

#if defined(WSSS_FAST_CUDA_ON_HOST)
using testing::from_float16;
using testing::to_float16;
#else
inline __device__ float from_float16(std::uint16_t bits) {
    return __half2float(__ushort_as_half(bits));
}
inline __device__ std::uint16_t to_float16(float value) {
    return __half_as_ushort(__float2half_rn(value));
}
#endif

}  // namespace detail

template <typename T>
__device__ T load_element(const void* memory, Element type, std::int64_t i) {
    switch (type) {
        case Element::kFloat32:
            return static_cast<T>(static_cast<const float*>(memory)[i]);
        case Element::kFloat64:
            return static_cast<T>(static_cast<const double*>(memory)[i]);
        case Element::kFloat16:
            return detail::from_float16(static_cast<const std::uint16_t*>(memory)[i]);
        default:
            return detail::from_bfloat16(static_cast<const std::uint16_t*>(memory)[i]);
    }
}

template <typename T>
__device__ void store_element(void* memory, Element type, std::int64_t i, T value) {
    switch (type) {
        case Element::kFloat32:
            static_cast<float*>(memory)[i] = static_cast<float>(value);
            return;
        case Element::kFloat64:
            static_cast<double*>(memory)[i] = static_cast<double>(value);
            return;
        case Element::kFloat16:
            static_cast<std::uint16_t*>(memory)[i] = detail::to_float16(static_cast<float>(value));
            return;
        default:
            static_cast<std::uint16_t*>(memory)[i] = detail::to_bfloat16(static_cast<float>(value));
    }
}

constexpr WSSS_FAST_HOST_DEVICE std::int64_t bytes_of(Element type) {
    if (type == Element::kFloat64) return 8;
    return type == Element::kFloat32 ? 4 : 2;
}

// run(std::integral_constant<Element, type>), of the types that are computed with in T.
template <typename T, typename Run>
void with_element([[maybe_unused]] Element type, Run&& run) {
    if constexpr (std::is_same_v<T, double>) {
        run(std::integral_constant<Element, Element::kFloat64>{});
    } else {
        if (type == Element::kFloat32) run(std::integral_constant<Element, Element::kFloat32>{});
        if (type == Element::kFloat16) run(std::integral_constant<Element, Element::kFloat16>{});
        if (type == Element::kBfloat16) run(std::integral_constant<Element, Element::kBfloat16>{});
    }
}

}  // namespace wsss_fast::cuda
