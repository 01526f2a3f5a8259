#pragma once

#include <cstdint>

#include "common/bilinear_sample.h"
#include "common/cuda/divide.h"
#include "common/cuda/element.h"
#include "ops/cuda/finite.h"
#include "ops/cuda/tta.h"

// What the kernels of tta share.
namespace wsss_fast::cuda {

template <typename T>
struct Prediction {
    const void* data;
    std::int32_t height;
    std::int32_t width;
    T scale_y;
    T scale_x;
    bool flipped;
};

template <typename T>
struct Merge {
    Prediction<T> inputs[kMostInputs];
    std::int32_t count;  // of inputs
    std::int64_t images;
    std::int64_t classes;
    std::int32_t height;
    std::int32_t width;
    void* out;
    int label_bytes;  // 0 for the mean
    T* peaks;     // [inputs][N][H][W]: what a softmax takes off, where it is made in two kernels
    T* inverses;  // [inputs][N][H][W]: one by the sum of its exponentials

    WSSS_FAST_HOST_DEVICE std::int64_t points() const { return std::int64_t{height} * width; }
    WSSS_FAST_HOST_DEVICE std::int64_t pixels() const { return images * points(); }
};

struct Pixel {
    std::int64_t number;  // among those of all images
    std::int64_t image;
    std::int64_t point;  // in its image
    std::int32_t y;
    std::int32_t x;

    template <typename T>
    __device__ Pixel(const Merge<T>& merge, std::int64_t i) : number(i) {
        const Quotient of_image = divide(i, merge.points());
        image = of_image.whole;
        point = of_image.rest;
        const Quotient of_row = divide(point, merge.width);
        y = static_cast<std::int32_t>(of_row.whole);
        x = static_cast<std::int32_t>(of_row.rest);
    }
};

// One input at one pixel: the same four samples of every class, blended in the CPU's order.
template <typename T, Element kElement>
class Sampler {
  public:
    __device__ Sampler(const Merge<T>& merge, const Prediction<T>& input, const Pixel& pixel)
        : data_(input.data), plane_(std::int64_t{input.height} * input.width) {
        const auto rows = bilinear_sample(input.height, input.scale_y, pixel.y);
        const auto columns = bilinear_sample(input.width, input.scale_x, pixel.x);
        const std::int32_t last = input.width - 1;
        const std::int32_t left = input.flipped ? last - columns.low : columns.low;
        const std::int32_t right = input.flipped ? last - columns.high : columns.high;
        row_weight_ = rows.weight;
        column_weight_ = columns.weight;
        // What has no weight is not read: it may be no number.
        const std::int64_t begin = pixel.image * merge.classes * plane_;
        const std::int64_t low = begin + std::int64_t{rows.low} * input.width;
        down_ = rows.weight == T(0) ? 0 : input.width;
        at_ = low + left;
        across_ = columns.weight == T(0) ? 0 : right - left;
    }

    __device__ T operator()(std::int64_t c) const {
        const std::int64_t left = at_ + c * plane_;
        const std::int64_t right = left + across_;
        const T first = blend(load(left), load(left + down_), row_weight_);
        const T second = blend(load(right), load(right + down_), row_weight_);
        return blend(first, second, column_weight_);
    }

  private:
    __device__ T load(std::int64_t i) const { return load_element<T>(data_, kElement, i); }
    static __device__ T blend(T low, T high, T weight) {
        return (T(1) - weight) * low + weight * high;
    }

    const void* data_;
    std::int64_t plane_;
    std::int64_t at_;
    std::int32_t across_;
    std::int32_t down_;
    T row_weight_;
    T column_weight_;
};

// body(c) for the classes c < count of the kHeld at most that a thread has, and for up to three
// more: four at a time without a branch, so that the loads of all of them are on their way
// together.
template <int kHeld, typename Body>
__device__ void for_classes(int count, Body&& body) {
    constexpr int kTogether = 4;
    static_assert(kHeld % kTogether == 0);
    for (int first = 0; first < kHeld; first += kTogether) {
        if (first < count) {
            for (int c = first; c < first + kTogether; ++c) body(c);
        }
    }
}

// The class with the greatest mean, the first of equals. NaN in the first one stays.
template <typename T>
struct BestClass {
    T value;
    std::int32_t label;

    __device__ void consider(T other, std::int32_t of) {
        if (other > value) {
            value = other;
            label = of;
        }
    }
};

template <typename T>
__device__ T mean_of(const Merge<T>& merge, T sum) {
    return finite_or_nan(sum / static_cast<T>(merge.count));
}

// Any activation of any number of classes, a few of them at a time.
template <typename T>
void merge_streamed(const Merge<T>& merge, TtaActivation activation, Element element,
                    const Place& place);

}  // namespace wsss_fast::cuda
