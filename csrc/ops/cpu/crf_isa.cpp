#include "ops/cpu/crf_isa.h"

#include "common/simd.h"
#include "common/vector_exp.h"

namespace wsss_fast::WSSS_FAST_ISA {
namespace {

constexpr int kTile = kTilePoints;

template <typename T>
struct Four {
    using P = Pack<T, 4>;
    using V = typename P::value;
    V row[4];

    void transpose() {
        // By way of pairs: rows 0 and 2 interleaved, 1 and 3 interleaved, and those two again.
        const V a = low(row[0], row[2]);
        const V b = high(row[0], row[2]);
        const V c = low(row[1], row[3]);
        const V d = high(row[1], row[3]);
        row[0] = low(a, c);
        row[1] = high(a, c);
        row[2] = low(b, d);
        row[3] = high(b, d);
    }

  private:
#if defined(__clang__) || __GNUC__ >= 12
    static V low(V x, V y) { return __builtin_shufflevector(x, y, 0, 4, 1, 5); }
    static V high(V x, V y) { return __builtin_shufflevector(x, y, 2, 6, 3, 7); }
#else
    static V low(V x, V y) { return V{x[0], y[0], x[1], y[1]}; }
    static V high(V x, V y) { return V{x[2], y[2], x[3], y[3]}; }
#endif
};

template <typename T>
void to_planes(const T* rows, int width, bool add, T* planes) {
    if (width < 4) {
        for (int c = 0; c < width; ++c) {
            T* plane = planes + c * kTile;
            if (add) {
                for (int p = 0; p < kTile; ++p) plane[p] += rows[p * width + c];
            } else {
                for (int p = 0; p < kTile; ++p) plane[p] = rows[p * width + c];
            }
        }
        return;
    }
    using F = Four<T>;
    for (int p = 0; p < kTile; p += 4) {
        for (int c = 0; c < width; c += 4) {
            F block;
            for (int i = 0; i < 4; ++i) block.row[i] = F::P::load(rows + (p + i) * width + c);
            block.transpose();
            for (int i = 0; i < 4; ++i) {
                T* to = planes + (c + i) * kTile + p;
                F::P::store(to, add ? F::P::load(to) + block.row[i] : block.row[i]);
            }
        }
    }
}

template <typename T>
void to_rows(const T* planes, int width, T* rows) {
    if (width < 4) {
        for (int p = 0; p < kTile; ++p) {
            for (int c = 0; c < width; ++c) rows[p * width + c] = planes[c * kTile + p];
        }
        return;
    }
    using F = Four<T>;
    for (int p = 0; p < kTile; p += 4) {
        for (int c = 0; c < width; c += 4) {
            F block;
            for (int i = 0; i < 4; ++i) block.row[i] = F::P::load(planes + (c + i) * kTile + p);
            block.transpose();
            for (int i = 0; i < 4; ++i) F::P::store(rows + (p + i) * width + c, block.row[i]);
        }
    }
}

template <typename T>
bool softmax(T* planes, int classes, std::int64_t count) {
    T most[kTile];
    for (int p = 0; p < kTile; ++p) most[p] = planes[p];
    for (int c = 1; c < classes; ++c) {
        const T* x = planes + c * kTile;
        for (int p = 0; p < kTile; ++p) {
            // Both values are loaded first: a choice between loads would become a branch.
            const T value = x[p];
            const T best = most[p];
            most[p] = value > best ? value : best;
        }
    }
    T sum[kTile] = {};
    for (int c = 0; c < classes; ++c) {
        T* x = planes + c * kTile;
        for (int p = 0; p < kTile; ++p) {
            const T e = exp_nonpositive(x[p] - most[p]);
            x[p] = e;
            sum[p] += e;
        }
    }
    constexpr T kHuge = static_cast<T>(1e30);  // sums of exponentials are at most `classes`
    int bad = 0;
    for (std::int64_t p = 0; p < count; ++p) bad |= sum[p] <= kHuge ? 0 : 1;
    for (int p = 0; p < kTile; ++p) sum[p] = T(1) / sum[p];
    for (int c = 0; c < classes; ++c) {
        T* x = planes + c * kTile;
        for (int p = 0; p < kTile; ++p) x[p] *= sum[p];
    }
    return bad == 0;
}

template <typename T>
void apply_but_one(const T* messages, const T* total, int classes, T* energies) {
    T rest[kTile];
    for (int p = 0; p < kTile; ++p) rest[p] = total[p];
    for (int c = 0; c < classes - 1; ++c, energies += kTile, messages += kTile) {
        for (int p = 0; p < kTile; ++p) {
            energies[p] += messages[p];
            rest[p] -= messages[p];
        }
    }
    for (int p = 0; p < kTile; ++p) energies[p] += rest[p];
}

template <typename T>
void apply_diagonal(const T* messages, const T* compat, int classes, T* energies) {
    for (int c = 0; c < classes; ++c) {
        const T cost = compat[c];
        for (int p = 0; p < kTile; ++p) energies[c * kTile + p] -= cost * messages[c * kTile + p];
    }
}

template <typename T>
void apply_matrix(const T* messages, const T* compat, int classes, T* energies) {
    for (int to = 0; to < classes; ++to) {
        T* energy = energies + to * kTile;
        for (int from = 0; from < classes; ++from) {
            const T cost = compat[to * classes + from];
            const T* message = messages + from * kTile;
            for (int p = 0; p < kTile; ++p) energy[p] -= cost * message[p];
        }
    }
}

template <typename T>
void argmax(const T* planes, int classes, std::int32_t* labels) {
    T best[kTile];
    for (int p = 0; p < kTile; ++p) {
        best[p] = planes[p];
        labels[p] = 0;
    }
    for (int c = 1; c < classes; ++c) {
        const T* x = planes + c * kTile;
        for (int p = 0; p < kTile; ++p) {
            const T value = x[p];
            const bool better = value > best[p];
            best[p] = better ? value : best[p];
            labels[p] = better ? c : labels[p];
        }
    }
}

}  // namespace

template <typename T>
CrfLoops<T> make_crf_loops() {
    return {&to_planes<T>,      &to_rows<T>,      &softmax<T>, &apply_but_one<T>,
            &apply_diagonal<T>, &apply_matrix<T>, &argmax<T>};
}

template CrfLoops<float> make_crf_loops();
template CrfLoops<double> make_crf_loops();

}  // namespace wsss_fast::WSSS_FAST_ISA
