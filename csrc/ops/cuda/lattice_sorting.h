#pragma once

#include <cstdint>

#include "common/cuda/launch.h"
#include "ops/cuda/lattice.h"

// How the kernels of LatticeBuilder see the sorted corners.
namespace wsss_fast::cuda {

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

inline SortedCorners sorted_corners(const SortingArrays& arrays, std::int64_t count,
                                    std::int64_t of_image, int words) {
    return {arrays.key, arrays.pairs.keys, arrays.pairs.numbers, count, of_image, words};
}

// How many vertices the images before this one have.
inline __device__ std::int32_t vertices_before(const std::int32_t* rank, std::int64_t of_image,
                                               std::int64_t image) {
    return image == 0 ? 0 : rank[image * of_image - 1];
}

}  // namespace wsss_fast::cuda
