// Softmax whose exponentials and sums stay in registers: every input is read once, the output
// written once. A thread has all classes of a pixel, or, where they are many, some of them: then
// the threads of a pixel tell each other the greatest and the sum through shared memory.
//
// A class of a pixel takes about 40 instructions an input, most of them for its exponential and its
// four samples: 240 for six inputs, 8 ps where a GPU does 30 instructions a ps. With predictions as
// large as the images (scales 0.5, 1 and 2, each twice) it also takes 46 bytes, 15 ps of memory at
// 3 TB/s, and memory is what limits it. Small predictions, at a stride of 4, are 7 bytes: there the
// exponentials are.
#include "common/cuda/label.h"
#include "common/cuda/launch.h"
#include "common/exp_nonpositive.h"
#include "ops/cuda/tta_sample.h"

namespace wsss_fast::cuda {
namespace {

// Of a block, at most: 24 values and 24 sums of double take 170 registers with what is beside them.
constexpr int kMostThreads = 384;

template <typename T>
struct Shared {
    T greatest[kMostThreads];
    T total[kMostThreads];
    std::int32_t label[kMostThreads];
};

// What the threads of a block do together: `parts` of them a pixel, `pixels` apart.
struct Team {
    int parts;
    int pixels;
    int part;   // of this thread
    int pixel;  // of this thread

    // add(a part's value) for each part in turn. Others have written by then, and read before they
    // write again: two exchanges take turns in what they use.
    template <typename T, typename Add>
    __device__ void exchange(T* values, T own, Add&& add) const {
        values[threadIdx.x] = own;
        __syncthreads();
        for (int other = 0; other < parts; ++other) add(values[other * pixels + pixel]);
    }
};

// Some classes of one input, from `first` on: their softmax is added to the sums.
template <typename T, Element kElement, int kHeld>
__device__ void add_softmax(const Sampler<T, kElement>& sample, std::int64_t first, int count,
                            const Team& team, Shared<T>& shared, T* sums) {
    T value[kHeld];
    T greatest = -static_cast<T>(INFINITY);
    for_classes<kHeld>(count, [&](int c) {
        value[c] = sample(first + (c < count ? c : count - 1));
        greatest = value[c] > greatest ? value[c] : greatest;
    });
    if (team.parts > 1) {
        const T own = greatest;
        greatest = -static_cast<T>(INFINITY);
        team.exchange(shared.greatest, own,
                      [&](T other) { greatest = other > greatest ? other : greatest; });
    }
    T total = 0;
    for_classes<kHeld>(count, [&](int c) {
        const T exponent = value[c] - greatest;
        value[c] = exp_nonpositive(exponent);
        if (c < count) total += value[c] + (exponent - exponent);  // NaN for -inf, too
    });
    if (team.parts > 1) {
        const T own = total;
        total = 0;
        team.exchange(shared.total, own, [&](T other) { total += other; });
    }
    const T inverse = T(1) / total;
    for_classes<kHeld>(count, [&](int c) { sums[c] += value[c] * inverse; });
}

template <typename T, Element kElement, int kHeld>
__global__ void __launch_bounds__(kMostThreads) merge_classes(Merge<T> merge, int parts, int held) {
    auto& shared = block_shared<Shared<T>>();
    const int pixels = static_cast<int>(blockDim.x) / parts;
    const int thread = static_cast<int>(threadIdx.x);
    const Team team{parts, pixels, thread / pixels, thread % pixels};
    // Threads behind the last pixel go with the others through the barriers, and write nothing.
    const std::int64_t i = std::int64_t{blockIdx.x} * pixels + team.pixel;
    const bool real = i < merge.pixels();
    const Pixel pixel(merge, real ? i : 0);
    const std::int64_t first = std::int64_t{team.part} * held;
    const auto left = static_cast<int>(merge.classes - first);
    const int count = left < held ? left : held;

    T sums[kHeld] = {};
    for (std::int32_t k = 0; k < merge.count; ++k) {
        const Sampler<T, kElement> sample(merge, merge.inputs[k], pixel);
        add_softmax<T, kElement, kHeld>(sample, first, count, team, shared, sums);
    }

    if (merge.label_bytes == 0) {
        for_classes<kHeld>(count, [&](int c) {
            if (c < count && real) store_mean<kElement>(merge, pixel, first + c, sums[c]);
        });
        return;
    }
    BestClass<T> best{sums[0], static_cast<std::int32_t>(first)};
    for_classes<kHeld>(count, [&](int c) {
        if (c < count) best.consider(sums[c], static_cast<std::int32_t>(first) + c);
    });
    if (parts > 1) {
        shared.greatest[thread] = best.value;
        shared.label[thread] = best.label;
        __syncthreads();
        if (team.part > 0) return;
        for (int other = thread + pixels; other < parts * pixels; other += pixels) {
            best.consider(shared.greatest[other], shared.label[other]);
        }
    }
    if (real) store_label(merge.out, merge.label_bytes, i, best.label);
}

}  // namespace

template <typename T>
void merge_held(const Merge<T>& merge, Element element, const Place& place) {
    const auto parts = static_cast<int>((merge.classes + kHeldClasses - 1) / kHeldClasses);
    const auto held = static_cast<int>((merge.classes + parts - 1) / parts);
    // Whole warps of pixels side by side, and about 128 threads.
    const int pixels = parts == 1 ? 128 : (parts == 2 ? 64 : 32);
    const Shape shape{(merge.pixels() + pixels - 1) / pixels, parts * pixels};
    with_element<T>(element, [&](auto type) {
        constexpr Element kElement = decltype(type)::value;
        if (held <= 8) {
            launch(&merge_classes<T, kElement, 8>, shape, place, merge, parts, held);
        } else {
            launch(&merge_classes<T, kElement, kHeldClasses>, shape, place, merge, parts, held);
        }
    });
}

template void merge_held(const Merge<float>&, Element, const Place&);
template void merge_held(const Merge<double>&, Element, const Place&);

}  // namespace wsss_fast::cuda
