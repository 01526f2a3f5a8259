#include "ops/cpu/tta_isa.h"

#include "common/stretch.h"
#include "common/vector_exp.h"

namespace wsss_fast::WSSS_FAST_ISA {
namespace {

constexpr int kGroup = kColumnGroup;

// Pixels beside each other that fill a register.
template <typename T>
constexpr int kLanes = kRegisterBytes / static_cast<int>(sizeof(T));

template <typename T>
using PackOf = Pack<T, kLanes<T>>;
template <typename T>
using ValueOf = typename PackOf<T>::value;

template <typename T>
void accumulate(T* sums, ValueOf<T> value, bool first) {
    using P = PackOf<T>;
    P::store(sums, first ? value : P::load(sums) + value);
}

// The part of what is wanted next that is asked for beside the work on one group. Bit by bit, since
// a core that has too much on order waits before it goes on.
class Share {
  public:
    explicit Share(const TtaAhead& ahead) : ahead_(ahead), begin_(0), end_(0) {}

    void to(std::int64_t line) {
        begin_ = end_;
        end_ = line;
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
    const TtaAhead ahead_;
    std::int64_t begin_;
    std::int64_t end_;
};

template <typename T>
struct Plain {
    template <Spread kSpread>
    static void add_pack(const TtaRows<T>& rows, const Stretch<T, kSpread>& stretch, const Share& share, bool first,
                         T*, T* sums) {
        const T* row = rows.data;
        for (std::int64_t c = 0; c < rows.classes; ++c, row += rows.stride, sums += kGroup) {
            share.order(c);
            accumulate(sums, stretch(row), first);
        }
    }
};

template <typename T>
class Softmax {
  public:
    template <Spread kSpread>
    static void add_pack(const TtaRows<T>& rows, const Stretch<T, kSpread>& stretch, const Share& share, bool first,
                         T* values, T* sums) {
        using P = PackOf<T>;
        using V = ValueOf<T>;
        const T* row = rows.data;
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
            exponentials<kTogether>(values + c * kGroup, peak, total);
            for (int i = 0; i < kTogether; ++i) share.order(c + i);
        }
        for (; c < rows.classes; ++c) {
            exponentials<1>(values + c * kGroup, peak, total);
            share.order(c);
        }
        const V inverse = P::all(T(1)) / total;
        for (c = 0; c < rows.classes; ++c) {
            accumulate(sums + c * kGroup, P::load(values + c * kGroup) * inverse, first);
        }
    }

  private:
    // Classes whose exponentials are calculated side by side, as far as the registers reach.
    static constexpr int kTogether = kRegisterBytes == 64 ? 4 : 2;

    // Of the next few classes, in place, and added to their total in order.
    template <int Count>
    static void exponentials(T* values, ValueOf<T> peak, ValueOf<T>& total) {
        using P = PackOf<T>;
        using All = Several<P, Count>;
        const All e = exp_nonpositive_of(
            All::of([&](int i) { return P::load(values + i * kGroup) - peak; }));
        for (int i = 0; i < Count; ++i) {
            P::store(values + i * kGroup, e.each[i]);
            total += e.each[i];
        }
    }
};

template <typename T>
struct Sigmoid {
    template <Spread kSpread>
    static void add_pack(const TtaRows<T>& rows, const Stretch<T, kSpread>& stretch, const Share& share, bool first,
                         T*, T* sums) {
        using P = PackOf<T>;
        using V = ValueOf<T>;
        const V zero = V{};
        const V one = P::all(T(1));
        const T* row = rows.data;
        for (std::int64_t c = 0; c < rows.classes; ++c, row += rows.stride, sums += kGroup) {
            share.order(c);
            const V value = stretch(row);
            const V e =
                exp_nonpositive_of(Several<P, 1>{{P::choose(value > zero, -value, value)}}).each[0];
            accumulate(sums, P::choose(value >= zero, one, e) / (one + e), first);
        }
    }
};

template <typename T, typename Activation, Spread kSpread>
void add_spread(const TtaRows<T>& rows, const TtaAhead& ahead, std::int64_t begin, std::int64_t end, bool first, T* values,
                T* sums) {
    const std::int64_t groups = (end - begin + kGroup - 1) / kGroup;
    Share share(ahead);
    std::int64_t group = 0;
    for (std::int64_t x = begin; x < end; x += kGroup, sums += rows.classes * kGroup) {
        share.to(++group * ahead.lines / groups);
        for (int p = 0; p < kGroup; p += kLanes<T>) {
            const Stretch<T, kSpread> stretch(*rows.axis, x + p, rows.origin);
            Activation::template add_pack<kSpread>(rows, stretch, share, first, values + p, sums + p);
            share.done();
        }
    }
}

template <typename T, typename Activation>
void add(const TtaRows<T>& rows, const TtaAhead& ahead, std::int64_t begin, std::int64_t end, bool first, T* values,
         T* sums) {
    switch (rows.axis->spread) {
        case Spread::kWhole:
            return add_spread<T, Activation, Spread::kWhole>(rows, ahead, begin, end, first, values, sums);
        case Spread::kNear:
            return add_spread<T, Activation, Spread::kNear>(rows, ahead, begin, end, first, values, sums);
        case Spread::kFar:
            return add_spread<T, Activation, Spread::kFar>(rows, ahead, begin, end, first, values, sums);
    }
}

// Not std::abs and friends: no inline function of the standard library may be left out of line.
template <typename T>
bool outside(T value, T limit) {
    return !(value <= limit && value >= -limit);
}

template <typename T>
bool blend(const T* low, const T* high, T weight, std::int64_t count, T limit, T* out) {
    int bad = 0;
    if (weight == T(0)) {
        for (std::int64_t x = 0; x < count; ++x) {
            const T value = low[x];
            bad |= outside(value, limit) ? 1 : 0;
            out[x] = value;
        }
        return bad == 0;
    }
    const T rest = T(1) - weight;
    for (std::int64_t x = 0; x < count; ++x) {
        const T value = rest * low[x] + weight * high[x];
        bad |= outside(value, limit) ? 1 : 0;
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

template <typename T>
void argmax(const T* sums, std::int64_t classes, std::int32_t* labels) {
    T best[kGroup];
    for (int p = 0; p < kGroup; ++p) {
        best[p] = sums[p];
        labels[p] = 0;
    }
    for (std::int64_t c = 1; c < classes; ++c) {
        const T* at = sums + c * kGroup;
        const auto label = static_cast<std::int32_t>(c);
        for (int p = 0; p < kGroup; ++p) {
            const T value = at[p];
            const bool better = value > best[p];
            best[p] = better ? value : best[p];
            labels[p] = better ? label : labels[p];
        }
    }
}

}  // namespace

template <typename T>
TtaLoops<T> make_tta_loops() {
    return {&add<T, Plain<T>>, &add<T, Softmax<T>>, &add<T, Sigmoid<T>>,
            &blend<T>, &mean<T>, &argmax<T>};
}

template TtaLoops<float> make_tta_loops();
template TtaLoops<double> make_tta_loops();

}  // namespace wsss_fast::WSSS_FAST_ISA
