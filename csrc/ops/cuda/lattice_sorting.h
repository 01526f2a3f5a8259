#pragma once

#include <cstdint>

#include "common/cuda/device_wide.h"
#include "common/cuda/launch.h"

// What LatticeBuilder::sort() leaves for link().
namespace wsss_fast::cuda {

// The workspace of sort().
struct SortingArrays {
    std::uint64_t* key = nullptr;  // [words][corners] of corner r of point p at p (d+1) + r
    SortedPairs pairs{};           // the corners, sorted
    std::int32_t* rank = nullptr;  // [corners] how many vertices there are up to each
    std::int32_t* bad = nullptr;   // [images]
    void* scratch = nullptr;
    std::int64_t scratch_bytes = 0;
};

// The corners in the order of their keys, as kernels see them.
struct SortedCorners {
    const std::uint64_t* key;       // [words][count] by corner
    const std::uint64_t* top_word;  // [count] the last word of the keys, in order
    const std::uint32_t* number;    // [count] the corner at each place
    std::int64_t count;
    std::int64_t of_image;  // of each image, whose corners lie together
    int words;

    // Whether the corners at places i and i - 1 are not the same vertex.
    __device__ bool differs(std::int64_t i) const {
        if (top_word[i] != top_word[i - 1]) return true;
        for (int w = 0; w < words - 1; ++w) {
            if (key[w * count + number[i]] != key[w * count + number[i - 1]]) return true;
        }
        return false;
    }
};

// How many vertices the images before this one have.
inline __device__ std::int32_t vertices_before(const std::int32_t* rank, std::int64_t of_image,
                                               std::int64_t image) {
    return image == 0 ? 0 : rank[image * of_image - 1];
}

}  // namespace wsss_fast::cuda
