#include "ops/cpu/tta_isa.h"

#include "common/argmax.h"
#include "common/stretch.h"
#include "common/vector_exp.h"

namespace wsss_fast::WSSS_FAST_ISA {
namespace {

constexpr int kGroup = kColumnGroup;

template <typename T>
using ValueOf = typename Register<T>::value;

template <typename T>
void accumulate(T* sums, ValueOf<T> value, bool first) {
    using P = Register<T>;
    P::store(sums, first ? value : P::load(sums) + value);
}

// The part of what is wanted next that is asked for beside the work on one group. Bit by bit, since
// a core that has too much on order waits before it goes on.
class Share {
  public:
    Share(const TtaAhead& ahead, std::int64_t groups)
        : ahead_(ahead), step_((ahead.lines << kFraction) / groups) {}

    void next() {
        position_ += step_;
        begin_ = end_;
        end_ = position_ >> kFraction;
    }
    void done() { begin_ = end_; }

    void order(std::int64_t c) const {
        const std::int64_t plane = c * ahead_.plane;
        for (std::int64_t l = begin_; l < end_; ++l) {
            __builtin_prefetch(ahead_.low + plane + l * 64, 0, 2);
            __builtin_prefetch(ahead_.high + plane + l * 64, 0, 2);
        }
    }

  private:
    static constexpr int kFraction = 16;

    const TtaAhead ahead_;
    const std::int64_t step_;  // lines a group, in fixed point
    std::int64_t position_ = 0;
    std::int64_t begin_ = 0;  // lines
    std::int64_t end_ = 0;
};

template <typename T>
struct Plain {
    template <Spread kSpread>
    static void add_pack(const TtaRows<T>& rows, const Stretch<T, kSpread>& stretch,
                         const Share& share, bool first, T*, T* sums) {
        const std::int64_t planes = rows.rows * rows.classes;
        const T* row = rows.data;
        for (std::int64_t c = 0; c < planes; ++c, row += rows.stride) {
            accumulate(sums + c * kGroup, stretch(row), first);
            share.order(c);
        }
    }
};

// Planes whose exponentials are calculated side by side, as far as the registers reach.
constexpr int kTogether = kRegisterBytes == 64 ? 4 : 2;

template <typename T>
class Softmax {
  public:
    template <Spread kSpread>
    static void add_pack(const TtaRows<T>& rows, const Stretch<T, kSpread>& stretch,
                         const Share& share, bool first, T* values, T* sums) {
        const T* row = rows.data;
        for (std::int64_t r = 0; r < rows.rows; ++r) {
            if (rows.classes == 1) {
                // Whatever the value is, it is the only one.
                accumulate(sums, Register<T>::all(T(1)), first);
            } else {
                add_row(row, rows, stretch, share, first, values, sums);
            }
            row += rows.classes * rows.stride;
            sums += rows.classes * kGroup;
        }
    }

  private:
    template <Spread kSpread>
    static void add_row(const T* row, const TtaRows<T>& rows, const Stretch<T, kSpread>& stretch,
                        const Share& share, bool first, T* values, T* sums) {
        using P = Register<T>;
        using V = ValueOf<T>;
        V peak = stretch(row);
        P::store(values, peak);
        row += rows.stride;
        for (std::int64_t c = 1; c < rows.classes; ++c, row += rows.stride) {
            const V value = stretch(row);
            P::store(values + c * kGroup, value);
            peak = P::choose(value > peak, value, peak);
        }
        V total = V{};
        std::int64_t c = 0;
        for (; c + kTogether <= rows.classes; c += kTogether) {
            exponentials<kTogether>(c, share, values, peak, total);
        }
        for (; c + 2 <= rows.classes; c += 2) exponentials<2>(c, share, values, peak, total);
        for (; c < rows.classes; ++c) exponentials<1>(c, share, values, peak, total);
        const V inverse = P::all(T(1)) / total;
        for (c = 0; c < rows.classes; ++c) {
            accumulate(sums + c * kGroup, P::load(values + c * kGroup) * inverse, first);
        }
    }

    // Of the classes from c on, in place, and added to their total in order.
    template <int Count>
    static void exponentials(std::int64_t c, const Share& share, T* values, ValueOf<T> peak,
                             ValueOf<T>& total) {
        using P = Register<T>;
        using All = Several<P, Count>;
        values += c * kGroup;
        const All e =
            exp_nonpositive_of(All::of([&](int i) { return P::load(values + i * kGroup) - peak; }));
        for (int i = 0; i < Count; ++i) {
            P::store(values + i * kGroup, e.each[i]);
            total += e.each[i];
            share.order(c + i);
        }
    }
};

template <typename T>
class Sigmoid {
  public:
    template <Spread kSpread>
    static void add_pack(const TtaRows<T>& rows, const Stretch<T, kSpread>& stretch,
                         const Share& share, bool first, T*, T* sums) {
        const std::int64_t planes = rows.rows * rows.classes;
        std::int64_t c = 0;
        for (; c + kTogether <= planes; c += kTogether) {
            add_planes<kTogether>(c, rows, stretch, share, first, sums);
        }
        for (; c < planes; ++c) add_planes<1>(c, rows, stretch, share, first, sums);
    }

  private:
    template <int Count, Spread kSpread>
    static void add_planes(std::int64_t c, const TtaRows<T>& rows,
                           const Stretch<T, kSpread>& stretch, const Share& share, bool first,
                           T* sums) {
        using P = Register<T>;
        using All = Several<P, Count>;
        const ValueOf<T> zero = P::all(T(0));
        const ValueOf<T> one = P::all(T(1));
        const All x = All::of([&](int i) { return stretch(rows.data + (c + i) * rows.stride); });
        const All e = exp_nonpositive_of(
            All::of([&](int i) { return P::choose(x.each[i] > zero, -x.each[i], x.each[i]); }));
        for (int i = 0; i < Count; ++i) {
            const ValueOf<T> above = P::choose(x.each[i] >= zero, one, e.each[i]);
            accumulate(sums + (c + i) * kGroup, above / (one + e.each[i]), first);
            share.order(c + i);
        }
    }
};

template <typename T, typename Activation, Spread kSpread>
void add_spread(const TtaRows<T>& rows, const TtaAhead& ahead, std::int64_t begin, std::int64_t end,
                bool first, T* values, T* sums) {
    Share share(ahead, (end - begin + kGroup - 1) / kGroup);
    for (std::int64_t x = begin; x < end; x += kGroup) {
        share.next();
        for (int p = 0; p < kGroup; p += kRegisterLanes<T>) {
            const Stretch<T, kSpread> stretch(*rows.axis, x + p, rows.origin);
            Activation::add_pack(rows, stretch, share, first, values + p, sums + p);
            share.done();
        }
        sums += rows.rows * rows.classes * kGroup;
    }
}

template <typename T, typename Activation>
void add(const TtaRows<T>& rows, const TtaAhead& ahead, std::int64_t begin, std::int64_t end,
         bool first, T* values, T* sums) {
    switch (rows.axis->spread) {
        case Spread::kWhole:
            return add_spread<T, Activation, Spread::kWhole>(rows, ahead, begin, end, first, values,
                                                             sums);
        case Spread::kNear:
            return add_spread<T, Activation, Spread::kNear>(rows, ahead, begin, end, first, values,
                                                            sums);
        case Spread::kFar:
            return add_spread<T, Activation, Spread::kFar>(rows, ahead, begin, end, first, values,
                                                           sums);
    }
}

template <typename T>
bool blend(const T* low, const T* high, T weight, std::int64_t count, T limit, T* out) {
    int bad = 0;
    if (weight == T(0)) {
        for (std::int64_t x = 0; x < count; ++x) {
            const T value = low[x];
            bad |= magnitude(value) <= limit ? 0 : 1;
            out[x] = value;
        }
        return bad == 0;
    }
    const T rest = T(1) - weight;
    for (std::int64_t x = 0; x < count; ++x) {
        const T value = rest * low[x] + weight * high[x];
        bad |= magnitude(value) <= limit ? 0 : 1;
        out[x] = value;
    }
    return bad == 0;
}

template <typename T>
void mean(const T* sums, std::int64_t stride, T divisor, std::int64_t count, T* out) {
    std::int64_t x = 0;
    for (; x + kGroup <= count; x += kGroup, sums += stride) {
        for (int p = 0; p < kGroup; ++p) out[x + p] = sums[p] / divisor;
    }
    for (int p = 0; x + p < count; ++p) out[x + p] = sums[p] / divisor;
}

}  // namespace

template <typename T>
TtaLoops<T> make_tta_loops() {
    return {&add<T, Plain<T>>, &add<T, Softmax<T>>, &add<T, Sigmoid<T>>, &blend<T>,
            &mean<T>,          &argmax<kGroup, T>};
}

template TtaLoops<float> make_tta_loops();
template TtaLoops<double> make_tta_loops();

}  // namespace wsss_fast::WSSS_FAST_ISA
