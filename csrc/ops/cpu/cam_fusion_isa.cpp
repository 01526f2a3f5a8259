#include "ops/cpu/cam_fusion_isa.h"

#include "common/stretch.h"

namespace wsss_fast::WSSS_FAST_ISA {
namespace {

template <bool kFlipped, bool kRelu, bool kFirst, typename T>
bool add_row(const T* row, std::int64_t width, T limit, T* sum) {
    int bad = 0;
    for (std::int64_t x = 0; x < width; ++x) {
        T value = kFlipped ? row[width - 1 - x] : row[x];
        bad |= magnitude(value) <= limit ? 0 : 1;
        if (kRelu) value = value > T(0) ? value : T(0);
        sum[x] = kFirst ? value : sum[x] + value;
    }
    return bad == 0;
}

template <bool kFlipped, bool kRelu, typename T>
bool add_turned(const T* row, std::int64_t width, CamAdding how, T limit, T* sum) {
    return how.first ? add_row<kFlipped, kRelu, true>(row, width, limit, sum)
                     : add_row<kFlipped, kRelu, false>(row, width, limit, sum);
}

template <typename T>
bool add(const T* row, std::int64_t width, CamAdding how, T limit, T* sum) {
    if (how.flipped) {
        return how.relu ? add_turned<true, true>(row, width, how, limit, sum)
                        : add_turned<true, false>(row, width, how, limit, sum);
    }
    return how.relu ? add_turned<false, true>(row, width, how, limit, sum)
                    : add_turned<false, false>(row, width, how, limit, sum);
}

template <Spread kSpread, typename T>
void stretch_row(const T* row, const Columns<T>& columns, std::int64_t count, T* out) {
    using S = Stretch<T, kSpread>;
    for (std::int64_t x = 0; x < count; x += S::kLanes) {
        S::P::store(out + x, S(columns, x, 0)(row));
    }
}

template <typename T>
void stretch(const T* row, const Columns<T>& columns, std::int64_t count, T* out) {
    switch (columns.spread) {
        case Spread::kWhole:
            return stretch_row<Spread::kWhole>(row, columns, count, out);
        case Spread::kNear:
            return stretch_row<Spread::kNear>(row, columns, count, out);
        case Spread::kFar:
            return stretch_row<Spread::kFar>(row, columns, count, out);
    }
}

// Packs side by side from column x on.
template <int Count, typename T>
Several<Register<T>, Count> blend_packs(const CamRows<T>* sizes, std::int64_t size_count, bool relu,
                                        std::int64_t x) {
    using P = Register<T>;
    using V = typename P::value;
    using All = Several<P, Count>;
    const auto of = [&](const CamRows<T>& rows) {
        const V rest = P::all(T(1) - rows.weight);
        const V weight = P::all(rows.weight);
        return All::of([&](int i) {
            const std::int64_t at = x + i * P::kLanes;
            return rest * P::load(rows.low + at) + weight * P::load(rows.high + at);
        });
    };
    All sum = of(sizes[0]);
    for (std::int64_t g = 1; g < size_count; ++g) sum = sum + of(sizes[g]);
    if (!relu) return sum;
    const V zero = P::all(T(0));
    return All::of([&](int i) { return P::choose(sum.each[i] > zero, sum.each[i], zero); });
}

template <typename T>
void blend(const CamRows<T>* sizes, std::int64_t size_count, std::int64_t count, bool relu, T* out,
           T* most) {
    constexpr int kTogether = 2;  // share what is looked up for each size
    using P = Register<T>;
    using V = typename P::value;
    V largest = P::load(most);
    std::int64_t x = 0;
    for (; x + kTogether * P::kLanes <= count; x += kTogether * P::kLanes) {
        const auto sum = blend_packs<kTogether>(sizes, size_count, relu, x);
        for (int i = 0; i < kTogether; ++i) {
            P::store(out + x + i * P::kLanes, sum.each[i]);
            largest = P::choose(sum.each[i] > largest, sum.each[i], largest);
        }
    }
    for (; x < count; x += P::kLanes) {
        const V sum = blend_packs<1>(sizes, size_count, relu, x).each[0];
        largest = P::choose(sum > largest, sum, largest);
        if (x + P::kLanes <= count) {
            P::store(out + x, sum);
        } else {
            for (int l = 0; x + l < count; ++l) out[x + l] = sum[l];
        }
    }
    P::store(most, largest);
}

template <typename T>
void divide(std::int64_t count, T divisor, T* out) {
    for (std::int64_t x = 0; x < count; ++x) out[x] /= divisor;
}

}  // namespace

template <typename T>
CamLoops<T> make_cam_loops() {
    return {&add<T>, &stretch<T>, &blend<T>, &divide<T>};
}

template CamLoops<float> make_cam_loops();
template CamLoops<double> make_cam_loops();

}  // namespace wsss_fast::WSSS_FAST_ISA
