#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "common/cuda/launch.h"

namespace wsss_fast::cuda {

// As many numbers as go into one launch: parameters may take 4 KB.
template <typename T>
struct Handful {
    static constexpr std::int64_t kMost = 2048 / sizeof(T);
    T value[kMost];
};

#if defined(__CUDACC__) || defined(WSSS_FAST_CUDA_ON_HOST)

template <typename T>
__global__ void unpack(Handful<T> numbers, std::int64_t count, T* to) {
    for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) to[i] = numbers.value[i];
}

// Brings a small table to the device in the parameters of launches: a copy from memory that the
// host may free or change would have to be waited for.
template <typename T>
void upload(const T* from, std::int64_t count, T* to, const Place& place) {
    static_assert(std::is_trivially_copyable_v<T>);
    for (std::int64_t begin = 0; begin < count; begin += Handful<T>::kMost) {
        const std::int64_t size = std::min(Handful<T>::kMost, count - begin);
        Handful<T> numbers{};
        std::copy_n(from + begin, size, numbers.value);
        launch(&unpack<T>, Shape{1, 128}, place, numbers, size, to + begin);
    }
}

// Rounded to T.
template <typename T>
void upload_as(const std::vector<double>& from, T* to, const Place& place) {
    const std::vector<T> rounded(from.begin(), from.end());
    upload(rounded.data(), static_cast<std::int64_t>(rounded.size()), to, place);
}

#endif

}  // namespace wsss_fast::cuda
