#pragma once

#include <cmath>
#include <cstdint>

#include "common/cuda/element.h"
#include "common/host_device.h"

// Paths between pixels (common/paths.h) as a kernel goes along them.
namespace wsss_fast::cuda {

// body(y, x) for the pixels of the path to (dy, dx), row by row from the top left of its bounding
// box. All threads that go to the same neighbour go the same way.
template <typename Body>
WSSS_FAST_HOST_DEVICE void for_path_pixels(int dy, int dx, Body&& body) {
    const int left = dx < 0 ? dx : 0;
    const int right = dx < 0 ? 0 : dx;
    for (int y = 0; y <= dy; ++y) {
        for (int x = left; x <= right; ++x) {
            const int across = dy * x - dx * y;
            if (across * across < dy * dy + dx * dx) body(y, x);
        }
    }
}

#if defined(__CUDACC__) || defined(WSSS_FAST_CUDA_ON_HOST)

// A boundary outside [0, 1] is NaN.
template <typename T>
__device__ T load_boundary(const void* boundary, Element element, std::int64_t at) {
    const T value = load_element<T>(boundary, element, at);
    return value >= T(0) && value <= T(1) ? value : static_cast<T>(NAN);
}

// The larger one, NaN if one of them is.
template <typename T>
__device__ T larger(T one, T other) {
    return other > one || other != other ? other : one;
}

#endif

}  // namespace wsss_fast::cuda
