// One pass over the output in strips: a piece of one row, of a few rows where there are few
// classes. Of every input a strip gets the source columns it needs, blended between two source
// rows, for all classes; then, in groups of a few pixels whose values stay in the innermost cache,
// the columns are resampled, activated and added to the sums.
#include "ops/tta.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "common/bilinear.h"
#include "common/buffer.h"
#include "common/column_table.h"
#include "common/scratch.h"
#include "ops/cpu/tta_isa.h"

namespace wsss_fast {
namespace {

// Below this many resampled values the threads cost more than they bring.
constexpr std::int64_t kSerialBelow = 1 << 14;
// Into how many ranges of rows the work is cut at most: enough for an even share of the threads.
constexpr std::int64_t kMostRanges = 64;
// What the sums and the blended rows of a strip take together, so that both stay in a core's cache.
constexpr std::int64_t kStripBytes = 768 * 1024;
// Planes (classes of rows) that share what is set up for a group of columns.
constexpr std::int64_t kPlanesTogether = 8;
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

template <typename T>
struct Tables {
    BilinearAxis<T> rows;
    ColumnTable<T> columns;
};

// A piece of some output rows of one image.
struct Piece {
    std::int64_t image;
    std::int64_t row;
    std::int64_t rows;
    std::int64_t begin;  // columns
    std::int64_t end;
};

// How the output is cut into strips, and what one of them takes.
template <typename T>
class Cut {
  public:
    Cut(const TtaParams<T>& params, const std::vector<Tables<T>>& tables)
        : rows_(std::clamp<std::int64_t>(kPlanesTogether / params.classes, 1, params.height)) {
        const std::int64_t planes = rows_ * params.classes;
        const std::int64_t groups = ceil_div(params.width, kColumnGroup);
        const std::int64_t bytes = planes * static_cast<std::int64_t>(sizeof(T)) *
                                   (params.width + longest(params, tables, params.width));
        const std::int64_t strips = std::min(ceil_div(bytes, kStripBytes), groups);
        const std::int64_t groups_of_strip = ceil_div(groups, strips);
        columns_ = groups_of_strip * kColumnGroup;
        sums_ = planes * columns_;
        blended_ = planes * row_stride(longest(params, tables, columns_));
    }

    std::int64_t rows() const { return rows_; }
    std::int64_t columns() const { return columns_; }
    std::int64_t sums() const { return sums_; }        // elements
    std::int64_t blended() const { return blended_; }  // elements, at most

    // Elements from one blended row to the next: an odd number of cache lines, so that those of
    // many classes do not all fall on the same few places of a cache.
    static std::int64_t row_stride(std::int64_t elements) {
        constexpr std::int64_t kLine = 64 / sizeof(T);
        return (ceil_div(elements + kRowSlack, kLine) | 1) * kLine;
    }

  private:
    // Source samples that a strip of so many columns needs at most.
    static std::int64_t longest(const TtaParams<T>& params, const std::vector<Tables<T>>& tables,
                                std::int64_t columns) {
        std::int64_t most = 0;
        for (std::size_t i = 0; i < tables.size(); ++i) {
            for (std::int64_t x = 0; x < params.width; x += columns) {
                const auto span = tables[i].columns.span(x, std::min(x + columns, params.width),
                                                         params.inputs[i].width);
                most = std::max(most, span.end - span.begin);
            }
        }
        return most;
    }

    std::int64_t rows_;
    std::int64_t columns_;
    std::int64_t sums_;
    std::int64_t blended_;
};

// The scratch memory of one thread, and what is done in it.
template <typename T>
class Strip {
  public:
    Strip(const TtaParams<T>& params, const std::vector<Tables<T>>& tables, const Cut<T>& cut,
          T limit)
        : params_(params),
          tables_(tables),
          cut_(cut),
          limit_(limit),
          blended_(cut.blended()),
          values_(params.classes * kColumnGroup),
          sums_(cut.sums()) {}

    // Some rows, at most as many as the cut says. False if a value is not within the limit.
    bool merge(std::int64_t image, std::int64_t row, std::int64_t rows) {
        bool fine = true;
        for (std::int64_t x = 0; x < params_.width; x += cut_.columns()) {
            const Piece piece{image, row, rows, x, std::min(x + cut_.columns(), params_.width)};
            for (std::size_t i = 0; i < params_.inputs.size(); ++i) {
                TtaRows<T> blended{};
                fine &= blend(piece, i, blended);
                add_(blended, ahead(piece, i), piece.begin, piece.end, i == 0, values_.data(),
                     sums_.data());
            }
            params_.mean ? store_mean(piece) : store_labels(piece);
        }
        return fine;
    }

  private:
    // Where an output row takes its values from: two source rows of the first class.
    struct Source {
        const T* low;
        const T* high;
        T weight;            // of high
        std::int64_t plane;  // elements from class to class
    };
    Source source(std::size_t i, std::int64_t image, std::int64_t row) const {
        const TtaInput<T>& input = params_.inputs[i];
        const BilinearAxis<T>& axis = tables_[i].rows;
        const auto at = static_cast<std::size_t>(row);
        const std::int64_t plane = input.height * input.width;
        const T* first = input.data + image * params_.classes * plane;
        const T* low = first + axis.low[at] * input.width;
        // What has no weight need not be read.
        const T* high = axis.weight[at] == T(0) ? low : first + axis.high[at] * input.width;
        return {low, high, axis.weight[at], plane};
    }

    bool blend(const Piece& piece, std::size_t i, TtaRows<T>& blended) {
        const ColumnTable<T>& columns = tables_[i].columns;
        const std::int64_t width = params_.inputs[i].width;
        const auto span = columns.span(piece.begin, piece.end, width);
        const std::int64_t count = span.end - span.begin;
        blended = {blended_.data(),           piece.rows, params_.classes,
                   Cut<T>::row_stride(count), span.begin, &columns.columns()};
        bool fine = true;
        T* out = blended_.data();
        for (std::int64_t r = 0; r < piece.rows; ++r) {
            Source from = source(i, piece.image, piece.row + r);
            for (std::int64_t c = 0; c < params_.classes; ++c) {
                if (columns.picked().empty()) {
                    fine &= loops_.blend(from.low + span.begin, from.high + span.begin, from.weight,
                                         count, limit_, out);
                } else {
                    fine &= blend_picked(from, columns.picked().data(), span.begin, count,
                                         width - 1, out);
                }
                out[count] = T(0);  // what follows the last sample is read, and has no weight
                from.low += from.plane;
                from.high += from.plane;
                out += blended.stride;
            }
        }
        return fine;
    }

    // Of a row that holds the two samples of every column and no others.
    bool blend_picked(const Source& from, const std::int32_t* picked, std::int64_t begin,
                      std::int64_t count, std::int64_t last, T* out) const {
        bool fine = true;
        for (std::int64_t k = 0; k < count; ++k) {
            const std::int64_t at =
                std::min<std::int64_t>(picked[(begin + k) / 2] + (begin + k) % 2, last);
            fine &= loops_.blend(from.low + at, from.high + at, from.weight, 1, limit_, out + k);
        }
        return fine;
    }

    // What comes after input i of a piece. With few classes the rows of a strip are read as long
    // runs, which a processor sees coming by itself.
    TtaAhead ahead(Piece piece, std::size_t i) const {
        if (cut_.rows() > 1) return {};
        if (++i == params_.inputs.size()) {
            i = 0;
            piece.begin = piece.end == params_.width ? 0 : piece.end;
            piece.end = std::min(piece.begin + cut_.columns(), params_.width);
            if (piece.begin == 0 && ++piece.row == params_.height) return {};
        }
        if (!tables_[i].columns.picked().empty()) return {};
        const Source from = source(i, piece.image, piece.row);
        const auto span = tables_[i].columns.span(piece.begin, piece.end, params_.inputs[i].width);
        constexpr std::int64_t kSize = sizeof(T);
        return {reinterpret_cast<const char*>(from.low + span.begin),
                reinterpret_cast<const char*>(from.high + span.begin), from.plane * kSize,
                (span.end - span.begin) * kSize / 64};
    }

    void store_mean(const Piece& piece) const {
        const std::int64_t planes = piece.rows * params_.classes;
        const std::int64_t plane = params_.height * params_.width;
        const auto inputs = static_cast<T>(params_.inputs.size());
        for (std::int64_t r = 0; r < piece.rows; ++r) {
            T* out = params_.mean + piece.image * params_.classes * plane +
                     (piece.row + r) * params_.width + piece.begin;
            for (std::int64_t c = 0; c < params_.classes; ++c) {
                loops_.mean(sums_.data() + (r * params_.classes + c) * kColumnGroup,
                            planes * kColumnGroup, inputs, piece.end - piece.begin,
                            out + c * plane);
            }
        }
    }

    void store_labels(const Piece& piece) const {
        switch (params_.label_type) {
            case LabelType::kUint8:
                return store_labels_as<std::uint8_t>(piece);
            case LabelType::kInt16:
                return store_labels_as<std::int16_t>(piece);
            case LabelType::kInt32:
                return store_labels_as<std::int32_t>(piece);
        }
    }

    template <typename Label>
    void store_labels_as(const Piece& piece) const {
        const T* sums = sums_.data();
        for (std::int64_t x = piece.begin; x < piece.end; x += kColumnGroup) {
            const std::int64_t count = std::min<std::int64_t>(kColumnGroup, piece.end - x);
            for (std::int64_t r = 0; r < piece.rows; ++r) {
                std::int32_t labels[kColumnGroup];
                loops_.argmax(sums, params_.classes, labels);
                sums += params_.classes * kColumnGroup;
                const std::int64_t row = piece.image * params_.height + piece.row + r;
                Label* out = static_cast<Label*>(params_.labels) + row * params_.width + x;
                if (count == kColumnGroup) {
                    for (int p = 0; p < kColumnGroup; ++p) out[p] = static_cast<Label>(labels[p]);
                } else {
                    for (int p = 0; p < count; ++p) out[p] = static_cast<Label>(labels[p]);
                }
            }
        }
    }

    static TtaAdd<T> add_of(TtaActivation activation) {
        const TtaLoops<T>& loops = tta_loops<T>();
        switch (activation) {
            case TtaActivation::kSoftmax:
                return loops.add_softmax;
            case TtaActivation::kSigmoid:
                return loops.add_sigmoid;
            case TtaActivation::kNone:
                break;
        }
        return loops.add_plain;
    }

    const TtaParams<T>& params_;
    const std::vector<Tables<T>>& tables_;
    const Cut<T>& cut_;
    const TtaLoops<T>& loops_ = tta_loops<T>();
    const TtaAdd<T> add_ = add_of(params_.activation);
    const T limit_;
    Buffer<T> blended_;  // [rows][C][stride]: source columns of one input, between two source rows
    Buffer<T> values_;   // [C][group]: one input, resampled, then activated
    Buffer<T> sums_;     // [groups][rows][C][group]: over the inputs so far
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
    // In strips of rows, which begin anew with every image.
    const Cut<T> cut(params, tables);
    const std::int64_t strips_of_image = ceil_div(params.height, cut.rows());
    const std::int64_t strips = params.images * strips_of_image;
    const std::int64_t work_of_strip = cut.rows() * params.classes * params.width * inputs;
    Execution execution = params.execution;
    if (strips * work_of_strip < kSerialBelow) execution.threads = 1;
    const std::int64_t grain =
        std::max(ceil_div(strips, kMostRanges), kSerialBelow / work_of_strip);
    // A range of a long call lasts long itself: between its strips, as often as that costs nothing.
    const std::int64_t ask_every = std::max<std::int64_t>(1, kSerialBelow / work_of_strip);
    Scratch<Strip<T>> scratch;
    parallel_for(execution, strips, grain, [&](std::int64_t begin, std::int64_t end) {
        if (!good.load(std::memory_order_relaxed)) return;
        const auto strip = scratch.take(params, tables, cut, limit);
        bool fine = true;
        for (std::int64_t s = begin; s < end; ++s) {
            if (s % ask_every == 0) stop_if_cancelled(execution);
            const std::int64_t row = s % strips_of_image * cut.rows();
            fine &=
                strip->merge(s / strips_of_image, row, std::min(cut.rows(), params.height - row));
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
