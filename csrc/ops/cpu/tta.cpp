// One pass over the output in strips of one row. Of every input a strip gets the source columns it
// needs, blended between two source rows, for all classes; then, in groups of a few pixels whose
// values stay in the innermost cache, the columns are resampled, activated and added to the sums.
#include "ops/tta.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "common/bilinear.h"
#include "common/buffer.h"
#include "common/column_table.h"
#include "ops/cpu/tta_isa.h"

namespace wsss_fast {
namespace {

// Below this many resampled values the threads cost more than they bring.
constexpr std::int64_t kSerialBelow = 1 << 14;
// What the sums and the blended rows of a strip take together, so that both stay in a core's cache.
static const std::int64_t kStripBytes = getenv("SB") ? atoi(getenv("SB"))*1024 : 768 * 1024;
// Elements behind a blended row that the resampling reads, and may read, before it picks from them.
constexpr std::int64_t kRowSlack = 2 * kColumnGroup + 1;

std::int64_t groups_of(std::int64_t pixels) { return (pixels + kColumnGroup - 1) / kColumnGroup; }

// Elements from one class to the next: an odd number of cache lines, so that the rows of many
// classes do not all fall on the same few places of a cache.
template <typename T>
std::int64_t row_stride(std::int64_t elements) {
    const std::int64_t line = 64 / static_cast<std::int64_t>(sizeof(T));
    return ((elements + kRowSlack + line - 1) / line | 1) * line;
}

template <typename T>
struct Tables {
    BilinearAxis<T> rows;
    ColumnTable<T> columns;
};

// How the output is cut.
struct Cut {
    std::int64_t strip;  // pixels, a multiple of a group but for the last strip of a row
    std::int64_t row_elements = 0;  // the most that the blended rows of a strip take
};

template <typename T>
Cut cut_for(const TtaParams<T>& params, const std::vector<Tables<T>>& tables) {
    std::int64_t source = 0;
    for (std::size_t i = 0; i < tables.size(); ++i) {
        const auto span = tables[i].columns.span(0, params.width, params.inputs[i].width);
        source = std::max(source, span.end - span.begin);
    }
    const std::int64_t bytes = (params.width + source) * params.classes * static_cast<std::int64_t>(sizeof(T));
    const std::int64_t strips = std::max<std::int64_t>(1, (bytes + kStripBytes - 1) / kStripBytes);
    const std::int64_t groups = groups_of(params.width);
    Cut cut{std::max<std::int64_t>(1, (groups + strips - 1) / strips) * kColumnGroup};
    for (std::size_t i = 0; i < tables.size(); ++i) {
        for (std::int64_t x = 0; x < params.width; x += cut.strip) {
            const auto span = tables[i].columns.span(x, std::min(x + cut.strip, params.width), params.inputs[i].width);
            cut.row_elements = std::max(cut.row_elements, row_stride<T>(span.end - span.begin) * params.classes);
        }
    }
    return cut;
}

// The scratch memory of one range of rows, and what is done in it.
template <typename T>
class Strip {
  public:
    Strip(const TtaParams<T>& params, const std::vector<Tables<T>>& tables, const Cut& cut, T limit)
        : params_(params),
          tables_(tables),
          limit_(limit),
          rows_(cut.row_elements),
          values_(params.classes * kColumnGroup),
          sums_(params.classes * groups_of(cut.strip) * kColumnGroup) {}

    // Columns [begin, end) of output row y of image n. False if a value is not within the limit.
    bool merge(std::int64_t n, std::int64_t y, std::int64_t begin, std::int64_t end, std::int64_t strip) {
        bool fine = true;
        const TtaAdd<T> add = add_of(params_.activation);
        for (std::size_t i = 0; i < params_.inputs.size(); ++i) {
            TtaRows<T> rows{};
            fine &= blend(i, n, y, begin, end, rows);
            add(rows, ahead(i, n, y, begin, end, strip), begin, end, i == 0, values_.data(), sums_.data());
        }
        store(n, y, begin, end);
        return fine;
    }

  private:
    TtaAdd<T> add_of(TtaActivation activation) const {
        switch (activation) {
            case TtaActivation::kSoftmax:
                return loops_.add_softmax;
            case TtaActivation::kSigmoid:
                return loops_.add_sigmoid;
            case TtaActivation::kNone:
                break;
        }
        return loops_.add_plain;
    }

    TtaAhead ahead(std::size_t i, std::int64_t n, std::int64_t y, std::int64_t begin, std::int64_t end, std::int64_t strip) const {
        ++i;
        if (i == params_.inputs.size()) {
            i = 0;
            begin = end;
            if (begin == params_.width) { begin = 0; ++y; }
            end = std::min(begin + strip, params_.width);
            if (y == params_.height) { y = 0; ++n; }
            if (n == params_.images) return {nullptr, nullptr, 0, 0};
        }
        const TtaInput<T>& input = params_.inputs[i];
        const BilinearAxis<T>& axis = tables_[i].rows;
        const auto span = tables_[i].columns.span(begin, end, input.width);
        const std::int64_t plane = input.height * input.width;
        const T* image = input.data + n * params_.classes * plane + span.begin;
        const T* low = image + axis.low[static_cast<std::size_t>(y)] * input.width;
        const T* high = axis.weight[static_cast<std::size_t>(y)] == T(0) ? low : image + axis.high[static_cast<std::size_t>(y)] * input.width;
        return {reinterpret_cast<const char*>(low), reinterpret_cast<const char*>(high), plane * static_cast<std::int64_t>(sizeof(T)),
                (span.end - span.begin) * static_cast<std::int64_t>(sizeof(T)) / 64};
    }

    bool blend(std::size_t i, std::int64_t n, std::int64_t y, std::int64_t begin, std::int64_t end,
               TtaRows<T>& rows) {
        const TtaInput<T>& input = params_.inputs[i];
        const ColumnTable<T>& columns = tables_[i].columns;
        const BilinearAxis<T>& axis = tables_[i].rows;
        const auto span = columns.span(begin, end, input.width);
        const std::int64_t count = span.end - span.begin;
        rows = {rows_.data(), row_stride<T>(count), span.begin, params_.classes, &columns.columns()};
        const std::int64_t plane = input.height * input.width;
        const T* image = input.data + n * params_.classes * plane;
        const T* low = image + axis.low[static_cast<std::size_t>(y)] * input.width;
        const T* high = image + axis.high[static_cast<std::size_t>(y)] * input.width;
        const T weight = axis.weight[static_cast<std::size_t>(y)];
        bool fine = true;
        for (std::int64_t c = 0; c < params_.classes; ++c) {
            T* out = rows_.data() + c * rows.stride;
            if (columns.picked().empty()) {
                fine &= loops_.blend(low + c * plane + span.begin, high + c * plane + span.begin, weight, count, limit_, out);
            } else {
                fine &= blend_picked(low + c * plane, high + c * plane, weight,
                                     columns.picked().data() + begin, end - begin, input.width - 1, out);
            }
            out[count] = T(0);
        }
        return fine;
    }

    // Blends the two samples of each column.
    bool blend_picked(const T* low, const T* high, T weight, const std::int32_t* at, std::int64_t count, std::int64_t last, T* out) const {
        bool fine = true;
        for (std::int64_t x = 0; x < count; ++x) {
            for (std::int64_t k = 0; k < 2; ++k) {
                const std::int64_t source = std::min(at[x] + k, last);
                fine &= loops_.blend(low + source, high + source, weight, 1, limit_, out + 2 * x + k);
            }
        }
        return fine;
    }

    void store(std::int64_t n, std::int64_t y, std::int64_t begin, std::int64_t end) {
        const std::int64_t plane = params_.height * params_.width;
        const std::int64_t pixel = y * params_.width + begin;
        if (params_.mean) {
            T* out = params_.mean + n * params_.classes * plane + pixel;
            for (std::int64_t c = 0; c < params_.classes; ++c) {
                loops_.mean(sums_.data() + c * kColumnGroup, params_.classes * kColumnGroup,
                            static_cast<T>(params_.inputs.size()), end - begin, out + c * plane);
            }
            return;
        }
        const std::int64_t at = n * plane + pixel;
        switch (params_.label_type) {
            case LabelType::kUint8:
                return store_labels(static_cast<std::uint8_t*>(params_.labels) + at, end - begin);
            case LabelType::kInt16:
                return store_labels(static_cast<std::int16_t*>(params_.labels) + at, end - begin);
            case LabelType::kInt32:
                return store_labels(static_cast<std::int32_t*>(params_.labels) + at, end - begin);
        }
    }

    template <typename Label>
    void store_labels(Label* out, std::int64_t count) {
        std::int32_t labels[kColumnGroup];
        for (std::int64_t x = 0; x < count; x += kColumnGroup) {
            loops_.argmax(sums_.data() + x * params_.classes, params_.classes, labels);
            const std::int64_t here = std::min<std::int64_t>(kColumnGroup, count - x);
            for (std::int64_t p = 0; p < here; ++p) out[x + p] = static_cast<Label>(labels[p]);
        }
    }

    const TtaParams<T>& params_;
    const std::vector<Tables<T>>& tables_;
    const TtaLoops<T>& loops_ = tta_loops<T>();
    T limit_;
    Buffer<T> rows_;    // [C][stride]: source columns of one input, between two source rows
    Buffer<T> values_;  // [C][group]: one input, resampled, then activated
    Buffer<T> sums_;    // [groups][C][group]: over the inputs so far
};

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
        const auto columns =
            bilinear_axis<T>(input.width, params.width, params.width, input.flipped);
        tables.push_back({bilinear_axis<T>(input.height, params.height, params.height, false),
                          ColumnTable<T>(columns)});
        if (tables.back().rows.skips || columns.skips) {
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
    const Cut cut = cut_for(params, tables);
    if (params.mean) {
        advise_huge_pages(params.mean, static_cast<std::size_t>(rows * params.classes * params.width) *
                                           sizeof(T));
    }
    parallel_for(execution, rows, grain, [&](std::int64_t begin_row, std::int64_t end_row) {
        if (!good.load(std::memory_order_relaxed)) return;
        Strip<T> strip(params, tables, cut, limit);
        bool fine = true;
        for (std::int64_t row = begin_row; row < end_row; ++row) {
            const std::int64_t n = row / params.height;
            const std::int64_t y = row % params.height;
            for (std::int64_t x = 0; x < params.width; x += cut.strip) {
                fine &= strip.merge(n, y, x, std::min(x + cut.strip, params.width), cut.strip);
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
