#pragma once

#include <algorithm>
#include <type_traits>

// CUDA's atomics, for the types that it has them for. The threads of a launch take turns on one
// thread of the host, so plain reads and writes do.
namespace wsss_fast::testing {

template <typename T, typename... Allowed>
using OneOf = std::enable_if_t<(std::is_same_v<T, Allowed> || ...), T>;

// Not what the type is deduced from: converted to it, as in CUDA, where these are no templates.
template <typename T>
using Plain = std::common_type_t<T>;

template <typename T>
T exchange(T* address, T value) {
    const T before = *address;
    *address = value;
    return before;
}

}  // namespace wsss_fast::testing

template <typename T>
wsss_fast::testing::OneOf<T, int, unsigned, unsigned long long, float, double> atomicAdd(
    T* address, wsss_fast::testing::Plain<T> value) {
    if constexpr (std::is_integral_v<T>) {  // wraps around
        using Bits = std::make_unsigned_t<T>;
        const Bits sum = static_cast<Bits>(*address) + static_cast<Bits>(value);
        return wsss_fast::testing::exchange(address, static_cast<T>(sum));
    } else {
        return wsss_fast::testing::exchange(address, *address + value);
    }
}

template <typename T>
wsss_fast::testing::OneOf<T, int, unsigned, long long, unsigned long long> atomicMin(
    T* address, wsss_fast::testing::Plain<T> value) {
    return wsss_fast::testing::exchange(address, std::min(*address, value));
}

template <typename T>
wsss_fast::testing::OneOf<T, int, unsigned, long long, unsigned long long> atomicMax(
    T* address, wsss_fast::testing::Plain<T> value) {
    return wsss_fast::testing::exchange(address, std::max(*address, value));
}

template <typename T>
wsss_fast::testing::OneOf<T, int, unsigned, unsigned long long> atomicOr(
    T* address, wsss_fast::testing::Plain<T> value) {
    return wsss_fast::testing::exchange(address, *address | value);
}

template <typename T>
wsss_fast::testing::OneOf<T, int, unsigned, unsigned long long> atomicAnd(
    T* address, wsss_fast::testing::Plain<T> value) {
    return wsss_fast::testing::exchange(address, *address & value);
}

template <typename T>
wsss_fast::testing::OneOf<T, int, unsigned, unsigned long long, float> atomicExch(
    T* address, wsss_fast::testing::Plain<T> value) {
    return wsss_fast::testing::exchange(address, value);
}

template <typename T>
wsss_fast::testing::OneOf<T, int, unsigned, unsigned long long> atomicCAS(
    T* address, wsss_fast::testing::Plain<T> expected, wsss_fast::testing::Plain<T> value) {
    return wsss_fast::testing::exchange(address, *address == expected ? value : *address);
}
