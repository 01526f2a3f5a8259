#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "common/bilinear.h"
#include "common/columns.h"

namespace wsss_fast {

// The columns of a bilinear axis in the form that vector loops read: see Columns. Where the axis is
// so steep that neighbouring columns lie more than two samples apart, the loops want a row that
// holds but the two samples of every column, side by side; `picked` names the first of them.
template <typename T>
class ColumnTable {
  public:
    explicit ColumnTable(const BilinearAxis<T>& axis) : count_(axis.weight.size()) {
        const std::size_t padded = (count_ + kColumnGroup - 1) / kColumnGroup * kColumnGroup;
        low_.resize(padded);
        first_.resize(padded);
        second_.resize(padded);
        std::int32_t step = 0;
        bool whole = true;
        for (std::size_t x = 0; x < count_; ++x) {
            const T weight = axis.weight[x];
            // A flipped axis names its samples the other way round.
            const bool turned = axis.high[x] < axis.low[x] && weight != T(0);
            low_[x] = turned ? axis.high[x] : axis.low[x];
            first_[x] = turned ? weight : T(1) - weight;
            second_[x] = turned ? T(1) - weight : weight;
            whole = whole && second_[x] == T(0);
            if (x > 0) step = std::max(step, std::abs(low_[x] - low_[x - 1]));
        }
        if (step > 2) {
            picked_.assign(low_.begin(), low_.begin() + static_cast<std::ptrdiff_t>(count_));
            for (std::size_t x = 0; x < count_; ++x) low_[x] = static_cast<std::int32_t>(2 * x);
        }
        for (std::size_t x = count_; x < padded; ++x) {
            low_[x] = low_[count_ - 1];
            first_[x] = first_[count_ - 1];
            second_[x] = second_[count_ - 1];
        }
        columns_ = {low_.data(), first_.data(), second_.data(),
                    step > 1 ? Spread::kFar : (whole ? Spread::kWhole : Spread::kNear)};
    }
    ColumnTable(ColumnTable&&) = default;

    const Columns<T>& columns() const { return columns_; }
    // Empty where rows are read as they are.
    const std::vector<std::int32_t>& picked() const { return picked_; }

    // Columns with the padding.
    std::int64_t padded() const { return static_cast<std::int64_t>(low_.size()); }

    // Fills `out`, of picked_elements(), with what the loops want of a row for a steep axis.
    std::int64_t picked_elements() const {
        return picked_.empty() ? 0 : 2 * static_cast<std::int64_t>(count_) + kRowSlack;
    }
    void pick(const T* row, std::int64_t length, T* out) const {
        for (const std::int32_t at : picked_) {
            *out++ = row[at];
            *out++ = row[std::min<std::int64_t>(at + 1, length - 1)];
        }
        std::fill_n(out, kRowSlack, T(0));
    }

    // The samples, of a row of `length` of them, that the columns [begin, end) need.
    struct Span {
        std::int64_t begin;
        std::int64_t end;
    };
    Span span(std::int64_t begin, std::int64_t end, std::int64_t length) const {
        const std::int64_t one = low_[static_cast<std::size_t>(begin)];
        const std::int64_t other = low_[static_cast<std::size_t>(end - 1)];
        const std::int64_t all = picked_.empty() ? length : 2 * static_cast<std::int64_t>(count_);
        return {std::min(one, other), std::min(std::max(one, other) + 2, all)};
    }

  private:
    std::size_t count_;
    std::vector<std::int32_t> low_;
    std::vector<T> first_;
    std::vector<T> second_;
    std::vector<std::int32_t> picked_{};
    Columns<T> columns_{};
};

}  // namespace wsss_fast
