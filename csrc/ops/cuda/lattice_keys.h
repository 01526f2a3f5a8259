#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"
#include "ops/lattice_embedding.h"

namespace wsss_fast::cuda {

// 16 coordinates of 26 bits and the number of an image.
constexpr int kMaxKeyWords = 9;

// How a vertex is written as one or more 64-bit words.
//
// All coordinates x_0 .. x_d of a vertex leave the same rest modulo d+1, so that
// m_i = (x_i - x_d) / (d+1) is an integer for i < d, and the m_i are any integers. A step of the
// blur along axis i < d adds one to m_i, and the step along axis d takes one from all of them. Each
// m_i has a field of bits wide enough that no step leaves it; the number of the image lies above
// them.
struct KeyLayout {
    int words = 1;
    int bits[kMaxKeyWords] = {};             // in use of each word
    int word[kMaxLatticeDims] = {};          // of each m_i
    int shift[kMaxLatticeDims] = {};         // of each m_i
    std::int32_t low[kMaxLatticeDims] = {};  // is taken off each m_i
    int image_word = 0;
    int image_shift = 0;

    KeyLayout() = default;

    // least, most: bounds of the coordinates of the points.
    KeyLayout(int dims, std::int64_t images, const double* least, const double* most) {
        // A vertex of a simplex is less than three steps from its point, a neighbour one more.
        constexpr int kMargin = 6;
        int w = 0;
        const auto place = [&](std::int64_t largest, int& word_of, int& shift_of) {
            int needed = 0;
            while (largest >> needed > 0) ++needed;
            if (bits[w] + needed > 64) ++w;
            word_of = w;
            shift_of = bits[w];
            bits[w] += needed;
        };
        for (int i = 0; i < dims; ++i) {
            const double lowest = std::floor((least[i] - most[dims]) / (dims + 1)) - kMargin;
            const double highest = std::ceil((most[i] - least[dims]) / (dims + 1)) + kMargin;
            low[i] = static_cast<std::int32_t>(lowest);
            place(static_cast<std::int64_t>(highest - lowest), word[i], shift[i]);
        }
        place(images - 1, image_word, image_shift);
        words = w + 1;
    }
};

// One step of m_i, as a part of a word.
inline WSSS_FAST_HOST_DEVICE std::uint64_t key_step(const KeyLayout& layout, int i) {
    return std::uint64_t{1} << layout.shift[i];
}

}  // namespace wsss_fast::cuda
