// Activations that look at one class only, and softmax of more classes than a block holds: a thread
// adds up a few classes of a pixel at a time, with what a softmax has to know of all of them found
// by another kernel before.
#include "common/cuda/label.h"
#include "common/cuda/launch.h"
#include "common/exp_nonpositive.h"
#include "ops/cuda/tta_sample.h"

namespace wsss_fast::cuda {
namespace {

constexpr int kChunk = 8;  // classes at a time

// What a softmax takes off and divides by, of each input and pixel.
template <typename T, Element kElement>
__global__ void __launch_bounds__(kThreads) find_totals(Merge<T> merge) {
    const std::int64_t i = thread_number();
    if (i >= merge.count * merge.pixels()) return;
    const Quotient of_input = divide(i, merge.pixels());
    const Pixel pixel(merge, of_input.rest);
    const Sampler<T, kElement> sample(merge, merge.inputs[of_input.whole], pixel);
    T greatest = sample(0);
    for (std::int64_t c = 1; c < merge.classes; ++c) {
        const T value = sample(c);
        greatest = value > greatest ? value : greatest;
    }
    T total = 0;
    for (std::int64_t c = 0; c < merge.classes; ++c) {
        const T exponent = sample(c) - greatest;
        total += exp_nonpositive(exponent) + (exponent - exponent);  // NaN for -inf, too
    }
    merge.peaks[i] = greatest;
    merge.inverses[i] = T(1) / total;
}

template <typename T>
__device__ T sigmoid_or_nan(T x) {
    const T e = exp_nonpositive(x > T(0) ? -x : x);
    // NaN for infinities, too
    return (x >= T(0) ? T(1) : e) / (T(1) + e) + (x - x);
}

// The sums over the inputs of `count` classes from `first` on.
template <typename T, Element kElement, TtaActivation kActivation>
__device__ void add_up(const Merge<T>& merge, const Pixel& pixel, std::int64_t first, int count,
                       T* sums) {
    for (std::int32_t k = 0; k < merge.count; ++k) {
        const Sampler<T, kElement> sample(merge, merge.inputs[k], pixel);
        [[maybe_unused]] T peak = 0;
        [[maybe_unused]] T inverse = 1;
        if constexpr (kActivation == TtaActivation::kSoftmax) {
            peak = merge.peaks[k * merge.pixels() + pixel.number];
            inverse = merge.inverses[k * merge.pixels() + pixel.number];
        }
        for_classes<kChunk>(count, [&](int c) {
            T value = sample(first + (c < count ? c : count - 1));
            if constexpr (kActivation == TtaActivation::kSoftmax) {
                value = exp_nonpositive(value - peak) * inverse;
            } else if constexpr (kActivation == TtaActivation::kSigmoid) {
                value = sigmoid_or_nan(value);
            }
            sums[c] = k == 0 ? value : sums[c] + value;
        });
    }
}

template <typename T>
__device__ int chunk_at(const Merge<T>& merge, std::int64_t first) {
    return merge.classes - first < kChunk ? static_cast<int>(merge.classes - first) : kChunk;
}

// A thread for each pixel of each chunk of classes.
template <typename T, Element kElement, TtaActivation kActivation>
__global__ void __launch_bounds__(kThreads) write_means(Merge<T> merge, std::int64_t chunks) {
    const Quotient of_image = divide(thread_number(), chunks * merge.points());
    if (of_image.whole >= merge.images) return;
    const Quotient of_chunk = divide(of_image.rest, merge.points());
    const Pixel pixel(merge, of_image.whole * merge.points() + of_chunk.rest);
    const std::int64_t first = of_chunk.whole * kChunk;
    const int count = chunk_at(merge, first);
    T sums[kChunk];
    add_up<T, kElement, kActivation>(merge, pixel, first, count, sums);
    for_classes<kChunk>(count, [&](int c) {
        if (c >= count) return;
        store_element(merge.out, kElement,
                      (pixel.image * merge.classes + first + c) * merge.points() + pixel.point,
                      mean_of(merge, sums[c]));
    });
}

// A thread for each pixel.
template <typename T, Element kElement, TtaActivation kActivation>
__global__ void __launch_bounds__(kThreads) write_labels(Merge<T> merge) {
    const std::int64_t i = thread_number();
    if (i >= merge.pixels()) return;
    const Pixel pixel(merge, i);
    BestClass<T> best{};
    for (std::int64_t first = 0; first < merge.classes; first += kChunk) {
        const int count = chunk_at(merge, first);
        T sums[kChunk];
        add_up<T, kElement, kActivation>(merge, pixel, first, count, sums);
        if (first == 0) best.value = sums[0];
        for_classes<kChunk>(count, [&](int c) {
            if (c < count) best.consider(sums[c], static_cast<std::int32_t>(first) + c);
        });
    }
    store_label(merge.out, merge.label_bytes, i, best.label);
}

template <typename T, Element kElement, TtaActivation kActivation>
void launch_merge(const Merge<T>& merge, const Place& place) {
    if constexpr (kActivation == TtaActivation::kSoftmax) {
        launch(&find_totals<T, kElement>, for_each(merge.count * merge.pixels()), place, merge);
    }
    if (merge.label_bytes > 0) {
        launch(&write_labels<T, kElement, kActivation>, for_each(merge.pixels()), place, merge);
        return;
    }
    const std::int64_t chunks = (merge.classes + kChunk - 1) / kChunk;
    launch(&write_means<T, kElement, kActivation>, for_each(merge.pixels() * chunks), place, merge,
           chunks);
}

}  // namespace

template <typename T>
void merge_streamed(const Merge<T>& merge, TtaActivation activation, Element element,
                    const Place& place) {
    with_element<T>(element, [&](auto type) {
        constexpr Element kElement = decltype(type)::value;
        switch (activation) {
            case TtaActivation::kSoftmax:
                return launch_merge<T, kElement, TtaActivation::kSoftmax>(merge, place);
            case TtaActivation::kSigmoid:
                return launch_merge<T, kElement, TtaActivation::kSigmoid>(merge, place);
            case TtaActivation::kNone:
                return launch_merge<T, kElement, TtaActivation::kNone>(merge, place);
        }
    });
}

template void merge_streamed(const Merge<float>&, TtaActivation, Element, const Place&);
template void merge_streamed(const Merge<double>&, TtaActivation, Element, const Place&);

}  // namespace wsss_fast::cuda
