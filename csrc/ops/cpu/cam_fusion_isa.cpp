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

// Columns [x, x + lanes of P).
template <typename P, typename T>
typename P::value blended(const CamRows<T>* sizes, std::int64_t size_count, std::int64_t x,
                          bool relu) {
    using V = typename P::value;
    V sum = P::all(T(0));
    for (std::int64_t g = 0; g < size_count; ++g) {
        const V low = P::all(T(1) - sizes[g].weight) * P::load(sizes[g].low + x);
        const V value = low + P::all(sizes[g].weight) * P::load(sizes[g].high + x);
        sum = g == 0 ? value : sum + value;
    }
    const V zero = P::all(T(0));
    return relu ? P::choose(sum > zero, sum, zero) : sum;
}

template <typename T>
T blend(const CamRows<T>* sizes, std::int64_t size_count, std::int64_t count, bool relu, T largest,
        T* out) {
    constexpr int kLanes = kRegisterBytes / static_cast<int>(sizeof(T));
    using P = Pack<T, kLanes>;
    using Single = Pack<T, 1>;
    typename P::value most = P::all(largest);
    std::int64_t x = 0;
    for (; x + kLanes <= count; x += kLanes) {
        const typename P::value sum = blended<P>(sizes, size_count, x, relu);
        P::store(out + x, sum);
        most = P::choose(sum > most, sum, most);
    }
    for (; x < count; ++x) {
        const T sum = blended<Single>(sizes, size_count, x, relu);
        out[x] = sum;
        largest = sum > largest ? sum : largest;
    }
    for (int l = 0; l < kLanes; ++l) largest = most[l] > largest ? most[l] : largest;
    return largest;
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
