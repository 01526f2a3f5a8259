// One pass over the output in strips of one row. A strip holds all classes of its pixels, once as
// resampled logits and once as the running sum of probabilities, pixel beside pixel so that the
// loops over pixels vectorise; it stays in the cache whatever C is.
#include "ops/tta.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "common/bilinear.h"
#include "common/vector_exp.h"

namespace wsss_fast {
namespace {

// Below this many resampled values the threads cost more than they bring.
constexpr std::int64_t kSerialBelow = 1 << 14;
// Bytes of one strip buffer, two of which are in use at a time.
constexpr std::int64_t kStripBytes = 64 * 1024;

// The length of a strip: a multiple of 16 pixels.
template <typename T>
std::int64_t strip_pixels(std::int64_t classes, std::int64_t width) {
    const std::int64_t fit = kStripBytes / (classes * static_cast<std::int64_t>(sizeof(T)));
    return std::min(std::max<std::int64_t>(fit / 16 * 16, 16), width);
}

template <typename T>
struct Tables {
    BilinearAxis<T> rows;
    BilinearAxis<T> columns;
};

// The source columns that a strip needs.
struct Span {
    std::int64_t begin;
    std::int64_t end;
};

template <typename T>
Span source_span(const BilinearAxis<T>& columns, std::int64_t begin, std::int64_t end) {
    const auto first = static_cast<std::size_t>(begin);
    const auto last = static_cast<std::size_t>(end - 1);
    // Indices rise along the axis, or fall along a flipped one.
    const auto low = std::min(columns.low[first], columns.high[last]);
    const auto high = std::max(columns.low[first], columns.high[last]);
    return {low, static_cast<std::int64_t>(high) + 1};
}

// out = blend of two rows; false if a result is not within the limit.
template <typename T>
bool blend(const T* low, const T* high, T weight, std::int64_t count, T limit, T* out) {
    const T rest = T(1) - weight;
    int bad = 0;
    for (std::int64_t x = 0; x < count; ++x) {
        const T value = rest * low[x] + weight * high[x];
        bad |= within(value, limit) ? 0 : 1;
        out[x] = value;
    }
    return bad == 0;
}

// The scratch memory of one range of rows, and what is done in it.
template <typename T>
class Strip {
  public:
    Strip(std::int64_t classes, std::int64_t pixels)
        : classes_(classes),
          stride_(pixels),
          values_(static_cast<std::size_t>(classes * pixels)),
          sums_(static_cast<std::size_t>(classes * pixels)),
          peak_(static_cast<std::size_t>(pixels)),
          total_(static_cast<std::size_t>(pixels)),
          best_(static_cast<std::size_t>(pixels)) {}

    // Resamples one input of image n into the strip of columns [begin, end) of output row y.
    bool load(const TtaInput<T>& input, const Tables<T>& tables, std::int64_t n, std::int64_t y,
              std::int64_t begin, std::int64_t end, T limit) {
        count_ = end - begin;
        const Span span = source_span(tables.columns, begin, end);
        const std::int64_t source = span.end - span.begin;
        if (static_cast<std::size_t>(source) > blended_.size()) {
            blended_.resize(static_cast<std::size_t>(source));
        }
        const auto row = static_cast<std::size_t>(y);
        const std::int64_t low = tables.rows.low[row] * input.width + span.begin;
        const std::int64_t high = tables.rows.high[row] * input.width + span.begin;
        const T* image = input.data + n * classes_ * input.height * input.width;
        bool fine = true;
        for (std::int64_t c = 0; c < classes_; ++c) {
            const T* map = image + c * input.height * input.width;
            T* values = values_.data() + c * stride_;
            T* blended = tables.columns.identity ? values : blended_.data();
            fine &= blend(map + low, map + high, tables.rows.weight[row], source, limit, blended);
            if (!tables.columns.identity) pick(blended - span.begin, tables.columns, begin, values);
        }
        return fine;
    }

    void activate(TtaActivation activation) {
        if (activation == TtaActivation::kSoftmax) softmax();
        if (activation == TtaActivation::kSigmoid) sigmoid();
    }

    void add(bool first) {
        for (std::int64_t c = 0; c < classes_; ++c) {
            const T* values = values_.data() + c * stride_;
            T* sums = sums_.data() + c * stride_;
            if (first) {
                std::copy(values, values + count_, sums);
            } else {
                for (std::int64_t x = 0; x < count_; ++x) sums[x] += values[x];
            }
        }
    }

    void store_mean(std::int64_t inputs, std::int64_t plane, T* out) const {
        const auto divisor = static_cast<T>(inputs);
        for (std::int64_t c = 0; c < classes_; ++c) {
            const T* sums = sums_.data() + c * stride_;
            for (std::int64_t x = 0; x < count_; ++x) out[c * plane + x] = sums[x] / divisor;
        }
    }

    // The class of the largest sum; a later class must be larger to take the place.
    template <typename Label>
    void store_labels(Label* out) {
        std::fill(best_.begin(), best_.end(), 0);
        std::copy(sums_.data(), sums_.data() + count_, peak_.data());
        for (std::int64_t c = 1; c < classes_; ++c) {
            const T* sums = sums_.data() + c * stride_;
            const auto label = static_cast<std::int32_t>(c);
            for (std::int64_t x = 0; x < count_; ++x) {
                const bool larger = sums[x] > peak_[static_cast<std::size_t>(x)];
                best_[static_cast<std::size_t>(x)] =
                    larger ? label : best_[static_cast<std::size_t>(x)];
                peak_[static_cast<std::size_t>(x)] =
                    larger ? sums[x] : peak_[static_cast<std::size_t>(x)];
            }
        }
        for (std::int64_t x = 0; x < count_; ++x) {
            out[x] = static_cast<Label>(best_[static_cast<std::size_t>(x)]);
        }
    }

  private:
    void pick(const T* row, const BilinearAxis<T>& columns, std::int64_t begin, T* out) const {
        const std::int32_t* low = columns.low.data() + begin;
        const std::int32_t* high = columns.high.data() + begin;
        const T* weight = columns.weight.data() + begin;
        for (std::int64_t x = 0; x < count_; ++x) {
            out[x] = (T(1) - weight[x]) * row[low[x]] + weight[x] * row[high[x]];
        }
    }

    void softmax() {
        T* peak = peak_.data();
        T* total = total_.data();
        std::copy(values_.data(), values_.data() + count_, peak);
        for (std::int64_t c = 1; c < classes_; ++c) {
            const T* values = values_.data() + c * stride_;
            for (std::int64_t x = 0; x < count_; ++x) {
                peak[x] = values[x] > peak[x] ? values[x] : peak[x];
            }
        }
        std::fill(total, total + count_, T(0));
        for (std::int64_t c = 0; c < classes_; ++c) {
            T* values = values_.data() + c * stride_;
            for (std::int64_t x = 0; x < count_; ++x) {
                values[x] = baseline::exp_nonpositive(values[x] - peak[x]);
                total[x] += values[x];
            }
        }
        for (std::int64_t x = 0; x < count_; ++x) total[x] = T(1) / total[x];
        for (std::int64_t c = 0; c < classes_; ++c) {
            T* values = values_.data() + c * stride_;
            for (std::int64_t x = 0; x < count_; ++x) values[x] *= total[x];
        }
    }

    void sigmoid() {
        for (std::int64_t c = 0; c < classes_; ++c) {
            T* values = values_.data() + c * stride_;
            for (std::int64_t x = 0; x < count_; ++x) {
                const T e = baseline::exp_nonpositive(-std::abs(values[x]));
                values[x] = (values[x] >= T(0) ? T(1) : e) / (T(1) + e);
            }
        }
    }

    std::int64_t classes_;
    std::int64_t stride_;
    std::int64_t count_ = 0;          // pixels in use
    std::vector<T> values_;           // [C,stride]: one input, resampled, then activated
    std::vector<T> sums_;             // [C,stride]: over the inputs so far
    std::vector<T> blended_;          // source columns of one class between two source rows
    std::vector<T> peak_;             // largest value of a pixel
    std::vector<T> total_;            // sum of exponentials of a pixel
    std::vector<std::int32_t> best_;  // class of the largest value of a pixel
};

template <typename T>
void store(const TtaParams<T>& params, Strip<T>& strip, std::int64_t n, std::int64_t y,
           std::int64_t begin) {
    const std::int64_t plane = params.height * params.width;
    const std::int64_t pixel = y * params.width + begin;
    if (params.mean) {
        strip.store_mean(static_cast<std::int64_t>(params.inputs.size()), plane,
                         params.mean + n * params.classes * plane + pixel);
        return;
    }
    const std::int64_t at = n * plane + pixel;
    switch (params.label_type) {
        case LabelType::kUint8:
            return strip.store_labels(static_cast<std::uint8_t*>(params.labels) + at);
        case LabelType::kInt16:
            return strip.store_labels(static_cast<std::int16_t*>(params.labels) + at);
        case LabelType::kInt32:
            return strip.store_labels(static_cast<std::int32_t*>(params.labels) + at);
    }
}

template <typename T>
FiniteResult find_bad(const TtaParams<T>& params, T limit) {
    for (std::size_t i = 0; i < params.inputs.size(); ++i) {
        const TtaInput<T>& input = params.inputs[i];
        const std::int64_t count = params.images * params.classes * input.height * input.width;
        const std::int64_t at = first_outside(input.data, count, -limit, limit);
        if (at >= 0) {
            return BadValue{static_cast<std::int64_t>(i), at, static_cast<double>(input.data[at])};
        }
    }
    return {};
}

}  // namespace

template <typename T>
FiniteResult tta_merge(const TtaParams<T>& params) {
    if (params.images == 0) return {};
    const auto inputs = static_cast<std::int64_t>(params.inputs.size());
    // Values up to here cannot leave the range in a sum or a difference.
    const T limit = std::numeric_limits<T>::max() / static_cast<T>(inputs + 1);

    std::atomic<bool> good{true};
    std::vector<Tables<T>> tables;
    for (const TtaInput<T>& input : params.inputs) {
        tables.push_back(
            {bilinear_axis<T>(input.height, params.height, params.height, false),
             bilinear_axis<T>(input.width, params.width, params.width, input.flipped)});
        if (tables.back().rows.skips || tables.back().columns.skips) {
            // The main pass will not meet every value of this input.
            const std::int64_t count = params.images * params.classes * input.height * input.width;
            parallel_for(params.execution, count, 1 << 16,
                         [&](std::int64_t begin, std::int64_t end) {
                             if (!all_within(input.data + begin, end - begin, limit)) good = false;
                         });
        }
    }

    const std::int64_t work_of_row = params.classes * params.width * inputs;
    const std::int64_t rows = params.images * params.height;
    const std::int64_t grain = std::clamp<std::int64_t>(kSerialBelow / work_of_row, 1, 8);
    Execution execution = params.execution;
    if (rows * work_of_row < kSerialBelow) execution.threads = 1;
    const std::int64_t pixels = strip_pixels<T>(params.classes, params.width);
    parallel_for(execution, rows, grain, [&](std::int64_t begin_row, std::int64_t end_row) {
        if (!good.load(std::memory_order_relaxed)) return;
        Strip<T> strip(params.classes, pixels);
        bool fine = true;
        for (std::int64_t row = begin_row; row < end_row; ++row) {
            const std::int64_t n = row / params.height;
            const std::int64_t y = row % params.height;
            for (std::int64_t begin = 0; begin < params.width; begin += pixels) {
                const std::int64_t end = std::min(begin + pixels, params.width);
                for (std::size_t i = 0; i < params.inputs.size(); ++i) {
                    fine &= strip.load(params.inputs[i], tables[i], n, y, begin, end, limit);
                    strip.activate(params.activation);
                    strip.add(i == 0);
                }
                store(params, strip, n, y, begin);
            }
        }
        if (!fine) good.store(false, std::memory_order_relaxed);
    });
    // A blend can round to just above the limit though its two values lie just below.
    if (!good) return find_bad(params, limit * (T(1) - 4 * std::numeric_limits<T>::epsilon()));
    return {};
}

template FiniteResult tta_merge(const TtaParams<float>&);
template FiniteResult tta_merge(const TtaParams<double>&);

}  // namespace wsss_fast
