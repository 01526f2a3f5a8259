#include "ops/cpu/crf_isa.h"

#include "common/argmax.h"
#include "common/exp_nonpositive.h"

namespace wsss_fast::WSSS_FAST_ISA {
namespace {

constexpr int kTile = kTilePoints;

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

}  // namespace

template <typename T>
CrfLoops<T> make_crf_loops() {
    return {&softmax<T>, &apply_but_one<T>, &apply_diagonal<T>, &apply_matrix<T>,
            &argmax<kTile, T>};
}

template CrfLoops<float> make_crf_loops();
template CrfLoops<double> make_crf_loops();

}  // namespace wsss_fast::WSSS_FAST_ISA
