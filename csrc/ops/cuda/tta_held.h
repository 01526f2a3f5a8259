#pragma once

#include <cstdint>

#include "ops/cuda/tta_sample.h"

// How a block works on a softmax whose classes it holds.
namespace wsss_fast::cuda {

// How many classes' exponentials a thread holds at most, in how many threads a pixel's classes lie
// at most, and what a block keeps of an input at most, which leaves room for what beside it is in
// the 48 KB that every GPU gives it.
constexpr int kHeldClasses = 24;
constexpr int kMostParts = 12;
constexpr std::int64_t kMostStagedBytes = 40 << 10;

// A block has some pixels of one output row, each by so many threads.
struct HeldLayout {
    int parts;             // threads of a pixel
    int held;              // classes of a thread, a multiple of 4
    int pixels;            // of a block
    int row;               // numbers between two columns of what is staged
    std::int64_t columns;  // of an input that a block's pixels touch, at most

    template <typename T>
    std::int64_t staged_bytes() const {
        return columns * row * static_cast<std::int64_t>(sizeof(T));
    }
};

// Of all inputs of the merge.
template <typename T>
HeldLayout held_layout(const Merge<T>& merge);

template <typename T>
bool can_be_held(const HeldLayout& layout) {
    return layout.parts <= kMostParts && layout.staged_bytes<T>() <= kMostStagedBytes;
}

template <typename T>
void merge_held(const Merge<T>& merge, const HeldLayout& layout, Element element,
                const Place& place);

}  // namespace wsss_fast::cuda
