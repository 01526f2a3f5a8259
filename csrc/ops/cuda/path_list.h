#pragma once

#include <cstdint>

#include "common/cuda/launch.h"
#include "ops/cuda/path_pixels.h"
#include "ops/cuda/path_sources.h"

// Paths as lists of their pixels, for kernels of which a block goes along some paths from a tile of
// sources in shared memory: it makes the lists of its paths once, by a thread each. To find out row
// by row where a path goes takes as long as to look at its pixels, of which a row has 2 or 3.
namespace wsss_fast::cuda {

constexpr int kPathsOfList = 32;

// In how many lists all paths are, evenly.
inline int lists_of(int radius) { return (path_count(radius) + kPathsOfList - 1) / kPathsOfList; }

#if defined(__CUDACC__) || defined(WSSS_FAST_CUDA_ON_HOST)

// A pixel is its place in a tile of kStride columns, counted from radius - 1 columns before the
// source, with the number it has in its row of the path in the upper 16 bits.
using PathPixel = std::uint32_t;
__device__ inline int place_of(PathPixel pixel) { return static_cast<int>(pixel & 0xFFFF); }
__device__ inline int number_in_row(PathPixel pixel) { return static_cast<int>(pixel >> 16); }

// Four that are read at once.
struct alignas(16) PathPixels {
    PathPixel pixel[4];
};

template <int kMostRadius>
struct PathList {
    // Up to radius 16 a path has at most 2 radius + 4 pixels.
    static_assert(kMostRadius <= 16);
    static constexpr int kFours = (2 * kMostRadius + 7) / 4;

    PathPixels pixels[kPathsOfList][kFours];
    std::int32_t fours[kPathsOfList];
    std::int32_t longest[kPathsOfList];  // row of the path

    // Of paths [first, last), by all threads of a block; what is filled shows behind a barrier. The
    // last pixel of a path is there until its four is full.
    __device__ void fill(int radius, int first, int last, int stride) {
        const int own = static_cast<int>(threadIdx.x);
        if (own >= last - first) return;
        int to_y = 0;
        int to_x = 1;
        for_paths(radius, first, last, [&](int p, int dy, int dx) {
            to_y = p - first == own ? dy : to_y;
            to_x = p - first == own ? dx : to_x;
        });
        int count = 0;
        int most = 0;
        PathPixel pixel = 0;
        const auto add = [&] {
            pixels[own][count / 4].pixel[count % 4] = pixel;
            ++count;
        };
        for_path_rows(to_y, to_x, [&](int y, int left, int right) {
            const int length = right - left + 1;
            most = length > most ? length : most;
            for (int i = 0; i < length; ++i) {
                pixel = static_cast<PathPixel>(i << 16 | (y * stride + left + i + radius - 1));
                add();
            }
        });
        while (count % 4 != 0) add();
        fours[own] = count / 4;
        longest[own] = most;
    }
};

#endif

}  // namespace wsss_fast::cuda
