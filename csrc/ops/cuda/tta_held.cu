// Softmax whose exponentials and sums stay in registers: every input is read once, the output
// written once. A thread has all classes of a pixel, or, where they are many, some of them: then
// the threads of a pixel tell each other the greatest and the sum through shared memory.
//
// The pixels of a block lie in one row, so that all of them blend the same two rows of an input
// with the same weight: that is done once for a column of the input, into shared memory, where a
// column's classes lie side by side. A pixel then blends two columns, four classes a load.
//
// A class of a pixel takes about 12 instructions an input: half a load, 2 to blend, 1 for the
// maximum, 3 for the exponential, 2 for the sum, 1 to add it to the mean, and its share of the
// staging. With four samples read for each, in 64-bit addresses, and the CPU's exponential it took
// some 75. For 16 images of 21 classes and 512 x 512 pixels from predictions at a stride of 4 an
// H200 then took 3.2 ms, and takes 1.0; its memory would allow 0.06 (labels) to 0.14 ms (the mean),
// its units for exponentials 0.15, and the instructions 0.5.
#include <algorithm>

#include "common/cuda/fast_math.h"
#include "common/cuda/label.h"
#include "common/cuda/launch.h"
#include "common/cuda/pack.h"
#include "ops/cuda/tta_held.h"

namespace wsss_fast::cuda {
namespace {

constexpr int kMostThreads = kMostParts * 32;  // of a block

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

// The columns [begin, begin + count) of an input, as its image has them before it is mirrored back.
struct Columns {
    std::int32_t begin;
    std::int32_t count;
};

// Two rows of an input, blended, for all classes. A column's classes lie side by side.
template <typename T, Element kElement>
__device__ void stage(const Merge<T>& merge, const Prediction<T>& input, std::int64_t image,
                      std::int32_t y, const Columns& columns, const HeldLayout& layout, T* staged) {
    const auto rows = bilinear_sample(input.height, input.scale_y, y);
    const auto classes = static_cast<std::int32_t>(merge.classes);
    const std::int64_t plane = std::int64_t{input.height} * input.width;
    // What has no weight is not read: it may be no number.
    const std::int64_t down = rows.weight == T(0) ? 0 : input.width;
    const T rest = T(1) - rows.weight;
    // Columns run fastest. One division tells a thread where it begins and how far its steps go;
    // then it adds.
    const auto threads = static_cast<std::int32_t>(blockDim.x);
    const auto thread = static_cast<std::int32_t>(threadIdx.x);
    const std::int32_t class_step = threads / columns.count;
    const std::int32_t column_step = threads - class_step * columns.count;
    std::int32_t c = thread / columns.count;
    std::int32_t j = thread - c * columns.count;
    const std::int32_t onward = input.flipped ? -1 : 1;
    const std::int32_t first = input.flipped ? input.width - 1 - columns.begin : columns.begin;
    std::int64_t from =
        (image * classes + c) * plane + std::int64_t{rows.low} * input.width + first + onward * j;
    const std::int64_t from_step = class_step * plane + onward * column_step;
    const std::int64_t from_wrap = plane - onward * columns.count;
    std::int32_t to = j * layout.row + c;
    const std::int32_t to_step = column_step * layout.row + class_step;
    const std::int32_t to_wrap = 1 - columns.count * layout.row;
    while (c < classes) {
        const T low = load_element<T>(input.data, kElement, from);
        const T high = load_element<T>(input.data, kElement, from + down);
        staged[to] = multiply_add(rows.weight, high, rest * low);
        c += class_step;
        j += column_step;
        from += from_step;
        to += to_step;
        if (j >= columns.count) {
            j -= columns.count;
            ++c;
            from += from_wrap;
            to += to_wrap;
        }
    }
}

// What lies behind the last class of a column, where four are loaded at a time, is no maximum.
template <typename T>
__device__ void fill_rest(std::int64_t classes, const HeldLayout& layout, T* staged) {
    const auto begin = static_cast<std::int32_t>(classes);
    const std::int32_t rest = (begin + 3) / 4 * 4 - begin;
    const auto threads = static_cast<std::int32_t>(blockDim.x);
    for (auto j = static_cast<std::int32_t>(threadIdx.x); j < layout.columns; j += threads) {
        for (int i = 0; i < rest; ++i) staged[j * layout.row + begin + i] = static_cast<T>(NAN);
    }
}

// Some classes of one input at a pixel, from its two columns: their softmax is added to the sums.
template <typename T, int kHeld>
__device__ void add_softmax(const T* left, const T* right, T weight, int count, const Team& team,
                            Shared<T>& shared, T* sums) {
    T value[kHeld];
    T greatest = -static_cast<T>(INFINITY);
    const T rest = T(1) - weight;
    for (int first = 0; first < kHeld; first += 4) {
        if (first >= count) continue;
        const Pack<T, 4> low = *packs_at<4>(left + first);
        const Pack<T, 4> high = *packs_at<4>(right + first);
        for (int i = 0; i < 4; ++i) {
            value[first + i] = multiply_add(weight, high.value[i], rest * low.value[i]);
            greatest = std::fmax(greatest, value[first + i]);  // passes over NaN
        }
    }
    if (team.parts > 1) {
        const T own = greatest;
        team.exchange(shared.greatest, own,
                      [&](T other) { greatest = std::fmax(greatest, other); });
    }
    T total = 0;
    for_classes<kHeld>(count, [&](int c) {
        const T exponent = value[c] - greatest;
        value[c] = fast_exp_nonpositive(exponent);
        if (c < count) total += multiply_add(exponent, T(0), value[c]);  // NaN for -inf, too
    });
    if (team.parts > 1) {
        const T own = total;
        total = 0;
        team.exchange(shared.total, own, [&](T other) { total += other; });
    }
    const T inverse = T(1) / total;
    for_classes<kHeld>(count, [&](int c) { sums[c] = multiply_add(value[c], inverse, sums[c]); });
}

template <typename T, Element kElement, int kHeld>
__global__ void __launch_bounds__(kMostThreads, sizeof(T) == 4 ? 2 : 1)
    merge_classes(Merge<T> merge, HeldLayout layout, std::int64_t segments) {
    auto& shared = block_shared<Shared<T>>();
    T* staged = block_shared_array<T>(layout.columns * layout.row);
    const Quotient of_row = divide(blockIdx.x, segments);
    const Quotient of_image = divide(of_row.whole, merge.height);
    const std::int64_t image = of_image.whole;
    const auto y = static_cast<std::int32_t>(of_image.rest);
    const std::int32_t begin = static_cast<std::int32_t>(of_row.rest) * layout.pixels;
    const std::int32_t end =
        begin + layout.pixels < merge.width ? begin + layout.pixels : merge.width;

    const int thread = static_cast<int>(threadIdx.x);
    const Team team{layout.parts, layout.pixels, thread / layout.pixels, thread % layout.pixels};
    // Threads behind the last pixel go with the others through the barriers, and write nothing.
    const bool real = begin + team.pixel < end;
    const std::int32_t x = real ? begin + team.pixel : end - 1;
    const int first = team.part * layout.held;
    const auto left = static_cast<int>(merge.classes) - first;
    const int count = left < layout.held ? left : layout.held;

    fill_rest(merge.classes, layout, staged);
    T sums[kHeld] = {};
    for (std::int32_t k = 0; k < merge.count; ++k) {
        const Prediction<T>& input = merge.inputs[k];
        const std::int32_t low = bilinear_sample(input.width, input.scale_x, begin).low;
        const std::int32_t high = bilinear_sample(input.width, input.scale_x, end - 1).high;
        if (k > 0) __syncthreads();
        stage<T, kElement>(merge, input, image, y, {low, high - low + 1}, layout, staged);
        __syncthreads();
        const auto sample = bilinear_sample(input.width, input.scale_x, x);
        const T* at = staged + first;
        add_softmax<T, kHeld>(
            at + (sample.low - low) * layout.row,
            // What has no weight is not read: it may be no number.
            at + ((sample.weight == T(0) ? sample.low : sample.high) - low) * layout.row,
            sample.weight, count, team, shared, sums);
    }

    const std::int64_t point = std::int64_t{y} * merge.width + x;
    if (merge.label_bytes == 0) {
        const std::int64_t points = merge.points();
        const std::int64_t at = (image * merge.classes + first) * points + point;
        for_classes<kHeld>(count, [&](int c) {
            if (c >= count || !real) return;
            store_element(merge.out, kElement, at + c * points, mean_of(merge, sums[c]));
        });
        return;
    }
    BestClass<T> best{sums[0], first};
    for_classes<kHeld>(count, [&](int c) {
        if (c < count) best.consider(sums[c], first + c);
    });
    if (team.parts > 1) {
        shared.greatest[thread] = best.value;
        shared.label[thread] = best.label;
        __syncthreads();
        if (team.part > 0) return;
        for (int other = thread + team.pixels; other < team.parts * team.pixels;
             other += team.pixels) {
            best.consider(shared.greatest[other], shared.label[other]);
        }
    }
    if (real) store_label(merge.out, merge.label_bytes, image * merge.points() + point, best.label);
}

}  // namespace

template <typename T>
HeldLayout held_layout(const Merge<T>& merge) {
    HeldLayout layout{};
    // Far more than can be held has the answer of one more.
    const auto classes = static_cast<int>(
        std::min<std::int64_t>(merge.classes, std::int64_t{kMostParts} * kHeldClasses + 1));
    layout.parts = (classes + kHeldClasses - 1) / kHeldClasses;
    layout.held = ((classes + layout.parts - 1) / layout.parts + 3) / 4 * 4;
    layout.parts = (classes + layout.held - 1) / layout.held;
    // Whole warps of pixels side by side, and about 128 threads.
    layout.pixels = layout.parts == 1 ? 128 : (layout.parts == 2 ? 64 : 32);
    layout.pixels = std::min(layout.pixels, (merge.width + 31) / 32 * 32);
    // An odd number of packs, so that the columns that a warp reads lie in different banks.
    layout.row = (layout.parts * layout.held / 4 | 1) * 4;
    for (std::int32_t k = 0; k < merge.count; ++k) {
        // From the first pixel's low sample to the last one's high one, and one for rounding.
        const auto span = static_cast<std::int64_t>(static_cast<double>(merge.inputs[k].scale_x) *
                                                    (layout.pixels - 1));
        const std::int64_t columns = std::min<std::int64_t>(span + 4, merge.inputs[k].width);
        layout.columns = std::max(layout.columns, columns);
    }
    return layout;
}

template <typename T>
void merge_held(const Merge<T>& merge, const HeldLayout& layout, Element element,
                const Place& place) {
    const std::int64_t segments = (merge.width + layout.pixels - 1) / layout.pixels;
    Shape shape{merge.images * merge.height * segments, layout.parts * layout.pixels};
    shape.shared_bytes = layout.staged_bytes<T>();
    with_element<T>(element, [&](auto type) {
        constexpr Element kElement = decltype(type)::value;
        if (layout.held <= 8) {
            launch(&merge_classes<T, kElement, 8>, shape, place, merge, layout, segments);
        } else {
            launch(&merge_classes<T, kElement, kHeldClasses>, shape, place, merge, layout,
                   segments);
        }
    });
}

template HeldLayout held_layout(const Merge<float>&);
template HeldLayout held_layout(const Merge<double>&);
template void merge_held(const Merge<float>&, const HeldLayout&, Element, const Place&);
template void merge_held(const Merge<double>&, const HeldLayout&, Element, const Place&);

}  // namespace wsss_fast::cuda
