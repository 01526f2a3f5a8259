#include "ops/cpu/affinity_displacement_isa.h"

#include <cmath>
#include <cstdint>

#include "common/exp_nonpositive.h"
#include "common/simd.h"
#include "ops/cpu/path_blocks.h"

namespace wsss_fast::WSSS_FAST_ISA {
namespace {

template <typename T>
void sigmoids(const T* logits, std::int64_t count, T* out) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = sigmoid(logits[i]);
}

template <typename T>
void sigmoid_backward(const T* value, std::int64_t count, T* grad) {
    for (std::int64_t i = 0; i < count; ++i) grad[i] *= (T(1) - value[i]) * value[i];
}

// Width pixels of a row with all their pairs.
template <typename T, int Width>
struct Tile {
    using Block = Pixels<T, Width>;
    static constexpr int kPacks = Block::kPacks;
    static constexpr int kLanes = Block::kLanes;
    using P = typename Block::P;
    using V = typename P::value;
    using Label = PairLabel<T>;
    using Q = Pack<Label, kLanes>;
    using I = typename Q::value;  // labels, and masks: all bits set or none

    static constexpr Label kAllButSign =
        static_cast<Label>(~std::uint64_t{0} >> (65 - 8 * sizeof(Label)));

    const PairRow<T>& row;
    std::int64_t first;
    bool empty = true;  // no pixel of it is confident
    alignas(kRegisterBytes) I label[kPacks];
    alignas(kRegisterBytes) I foreground[kPacks];
    alignas(kRegisterBytes) V dy[kPacks];
    alignas(kRegisterBytes) V dx[kPacks];

    Tile(const PairRow<T>& row_in, std::int64_t first_in) : row(row_in), first(first_in) {
        Label labels[Width];
        for (int i = 0; i < Width; ++i) {
            const Label here = row.labels[first + i];
            labels[i] = here >= 0 && first + i < row.count ? here : kUnconfidentSource;
            empty &= labels[i] < 0;
        }
        for (int i = 0; i < kPacks; ++i) {
            label[i] = Q::load(labels + i * kLanes);
            foreground[i] = label[i] > kBackgroundLabel;
            dy[i] = P::load(row.dy + first + i * kLanes);
            dx[i] = P::load(row.dx + first + i * kLanes);
        }
    }

    // What one path has for a pack of pixels.
    struct Pair {
        I equal;
        I different;
        V affinity;
        V dy;  // the displacement's error
        V dx;
    };

    [[gnu::always_inline]] inline Pair pair(const PairPath& path, const Block& maximum,
                                            int i) const {
        const std::int64_t at = first + i * kLanes + path.target;
        const I other = Q::load(row.labels + at);
        Pair result;
        result.equal = other == label[i];
        result.different = ((other | label[i]) >= 0) & ~result.equal;
        result.affinity = P::all(T(1)) - maximum.pack[i];
        const I on = foreground[i];
        result.dy = dy[i] - P::load(row.dy + at) - where(on, P::all(static_cast<T>(path.dy)));
        result.dx = dx[i] - P::load(row.dx + at) - where(on, P::all(static_cast<T>(path.dx)));
        return result;
    }

    static V where(I mask, V value) { return (V)((I)value & mask); }
    static V magnitude(V value) { return (V)((I)value & kAllButSign); }

    void add_to(PairSums& sums) const;
    void add_gradient(const PairGradients<T>& gradients) const;
};

// The logarithms of many numbers, added up for each pixel: their product, as an exponent and a
// mantissa, has one rounding error of half a unit a number, which is less than the sum of their
// logarithms would have in T, and it takes a multiplication in place of a logarithm.
template <typename T, int Width>
struct Products {
    using V = typename Tile<T, Width>::V;
    using I = typename Tile<T, Width>::I;
    using F = PairFields<T>;
    static constexpr int kPacks = Tile<T, Width>::kPacks;
    static constexpr PairLabel<T> kMantissa = (PairLabel<T>{1} << F::kExponent) - 1;

    alignas(kRegisterBytes) V value[kPacks];
    alignas(kRegisterBytes) I exponent[kPacks] = {};

    Products() {
        for (V& one : value) one = Tile<T, Width>::P::all(T(1));
    }

    // To a mantissa in [1, 2).
    void normalise() {
        for (int i = 0; i < kPacks; ++i) {
            const I bits = (I)value[i];
            exponent[i] += (bits >> F::kExponent) - F::kBias;
            value[i] = (V)((bits & kMantissa) | (F::kBias << F::kExponent));
        }
    }
};

template <typename T, int Width>
void Tile<T, Width>::add_to(PairSums& sums) const {
    Products<T, Width> equal;
    Products<T, Width> different;
    alignas(kRegisterBytes) V moved[kPacks] = {};
    alignas(kRegisterBytes) I equal_count[kPacks] = {};
    alignas(kRegisterBytes) I different_count[kPacks] = {};
    const V one = P::all(T(1));
    for (std::int64_t p = 0; p < row.path_count;) {
        const std::int64_t stop = p + PairFields<T>::kFactors;
        for (; p < stop && p < row.path_count; ++p) {
            Block largest;
            largest.load_maximum(row.paths[p].pieces, row.boundary + first);
            for (int i = 0; i < kPacks; ++i) {
                const Pair here = pair(row.paths[p], largest, i);
                equal.value[i] *= here.equal ? here.affinity + kPairEpsilon<T> : one;
                different.value[i] *= here.different ? kOneAndPairEpsilon<T> - here.affinity : one;
                equal_count[i] -= here.equal;
                different_count[i] -= here.different;
                moved[i] += where(here.equal, magnitude(here.dy) + magnitude(here.dx));
            }
        }
        equal.normalise();
        different.normalise();
    }

    // Lane by lane from here on. Values of a pixel's pairs of equal and of different label:
    T product[2][Width];
    Label exponent[2][Width];
    Label count[2][Width];
    T error[Width];
    Label kind_of[Width];
    for (int i = 0; i < kPacks; ++i) {
        const int at = i * kLanes;
        P::store(product[0] + at, equal.value[i]);
        P::store(product[1] + at, different.value[i]);
        Q::store(exponent[0] + at, equal.exponent[i]);
        Q::store(exponent[1] + at, different.exponent[i]);
        Q::store(count[0] + at, equal_count[i]);
        Q::store(count[1] + at, different_count[i]);
        P::store(error + at, moved[i]);
        Q::store(kind_of + at, label[i]);
    }
    // The pairs of equal label that begin in a pixel are all of one kind.
    double products[kAffinityDisplacementCounts] = {1, 1, 1};
    std::int64_t exponents[kAffinityDisplacementCounts] = {};
    for (int i = 0; i < Width; ++i) {
        if (kind_of[i] == kUnconfidentSource) continue;
        const bool is_background = kind_of[i] == kBackgroundLabel;
        const int kinds[2] = {is_background ? kBackgroundPairs : kForegroundPairs, kDifferentPairs};
        for (int k = 0; k < 2; ++k) {
            products[kinds[k]] *= static_cast<double>(product[k][i]);
            exponents[kinds[k]] += exponent[k][i];
            sums.counts[kinds[k]] += count[k][i];
        }
        sums.sums[is_background ? kBackgroundDisplacement : kForegroundDisplacement] +=
            static_cast<double>(error[i]);
    }
    constexpr double kLogTwo = 0.693147180559945309417232121458;
    for (int kind = 0; kind < kAffinityDisplacementCounts; ++kind) {
        sums.sums[kind] -=
            std::log(products[kind]) + static_cast<double>(exponents[kind]) * kLogTwo;
    }
}

template <typename T, int Width>
void Tile<T, Width>::add_gradient(const PairGradients<T>& gradients) const {
    // What pairs of equal label have, by the kind of the pixel they begin in.
    alignas(kRegisterBytes) V of_log[kPacks];
    alignas(kRegisterBytes) V of_error[kPacks];
    alignas(kRegisterBytes) V moved_dy[kPacks] = {};
    alignas(kRegisterBytes) V moved_dx[kPacks] = {};
    for (int i = 0; i < kPacks; ++i) {
        of_log[i] = foreground[i] ? P::all(gradients.sums[kForegroundPairs])
                                  : P::all(gradients.sums[kBackgroundPairs]);
        of_error[i] = foreground[i] ? P::all(gradients.sums[kForegroundDisplacement])
                                    : P::all(gradients.sums[kBackgroundDisplacement]);
    }
    const V of_different = P::all(-gradients.sums[kDifferentPairs]);
    const V zero{};
    for (std::int64_t p = 0; p < row.path_count; ++p) {
        const PairPath& path = row.paths[p];
        Block largest;
        largest.load_maximum(path.pieces, row.boundary + first);
        Block of_maximum;
        for (int i = 0; i < kPacks; ++i) {
            const Pair here = pair(path, largest, i);
            const V inside = here.equal ? here.affinity + kPairEpsilon<T>
                                        : kOneAndPairEpsilon<T> - here.affinity;
            of_maximum.pack[i] =
                where(here.equal | here.different, here.equal ? of_log[i] : of_different) / inside;
            const V moves = where(here.equal, of_error[i]);
            const V by_dy = where(here.dy > zero, moves) - where(here.dy < zero, moves);
            const V by_dx = where(here.dx > zero, moves) - where(here.dx < zero, moves);
            moved_dy[i] += by_dy;
            moved_dx[i] += by_dx;
            const std::int64_t at = first + i * kLanes + path.target;
            P::store(gradients.dy + at, P::load(gradients.dy + at) - by_dy);
            P::store(gradients.dx + at, P::load(gradients.dx + at) - by_dx);
        }
        of_maximum.hand_out(path.pieces, row.boundary + first, largest, gradients.boundary + first);
    }
    for (int i = 0; i < kPacks; ++i) {
        const std::int64_t at = first + i * kLanes;
        P::store(gradients.dy + at, P::load(gradients.dy + at) + moved_dy[i]);
        P::store(gradients.dx + at, P::load(gradients.dx + at) + moved_dx[i]);
    }
}

// take(tile) for the tiles of a row in which pairs may begin; the last one may be of half the
// width.
template <typename T, typename Take>
void for_tiles(const PairRow<T>& row, Take take) {
    constexpr int kWide = kPairTile<T>;
    constexpr int kNarrow = kWide / 2;
    for (std::int64_t first = 0; first < row.count; first += kWide) {
        if (row.count - first > kNarrow) {
            const Tile<T, kWide> tile(row, first);
            if (!tile.empty) take(tile);
        } else {
            const Tile<T, kNarrow> tile(row, first);
            if (!tile.empty) take(tile);
        }
    }
}

template <typename T>
void sums(const PairRow<T>& row, PairSums& all) {
    for_tiles(row, [&](const auto& tile) { tile.add_to(all); });
}

template <typename T>
void backward(const PairRow<T>& row, const PairGradients<T>& gradients) {
    for_tiles(row, [&](const auto& tile) { tile.add_gradient(gradients); });
}

}  // namespace

template <typename T>
PairLoops<T> make_pair_loops() {
    return {&sigmoids<T>, &sigmoid_backward<T>, &sums<T>, &backward<T>};
}

template PairLoops<float> make_pair_loops();
template PairLoops<double> make_pair_loops();

}  // namespace wsss_fast::WSSS_FAST_ISA
