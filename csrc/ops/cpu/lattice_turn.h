#pragma once

#include "common/simd.h"
#include "ops/cpu/lattice_isa.h"

// The values of a tile from rows, [kTilePoints][width], to planes, [width][kTilePoints], and back;
// part of the hot loops that are built once for each instruction set.
namespace wsss_fast::WSSS_FAST_ISA {

// Four rows of four values.
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
            T* plane = planes + c * kTilePoints;
            if (add) {
                for (int p = 0; p < kTilePoints; ++p) plane[p] += rows[p * width + c];
            } else {
                for (int p = 0; p < kTilePoints; ++p) plane[p] = rows[p * width + c];
            }
        }
        return;
    }
    using F = Four<T>;
    for (int p = 0; p < kTilePoints; p += 4) {
        for (int c = 0; c < width; c += 4) {
            F block;
            for (int i = 0; i < 4; ++i) block.row[i] = F::P::load(rows + (p + i) * width + c);
            block.transpose();
            for (int i = 0; i < 4; ++i) {
                T* to = planes + (c + i) * kTilePoints + p;
                F::P::store(to, add ? F::P::load(to) + block.row[i] : block.row[i]);
            }
        }
    }
}

template <typename T>
void to_rows(const T* planes, int width, T* rows) {
    if (width < 4) {
        for (int p = 0; p < kTilePoints; ++p) {
            for (int c = 0; c < width; ++c) rows[p * width + c] = planes[c * kTilePoints + p];
        }
        return;
    }
    using F = Four<T>;
    for (int p = 0; p < kTilePoints; p += 4) {
        for (int c = 0; c < width; c += 4) {
            F block;
            for (int i = 0; i < 4; ++i)
                block.row[i] = F::P::load(planes + (c + i) * kTilePoints + p);
            block.transpose();
            for (int i = 0; i < 4; ++i) F::P::store(rows + (p + i) * width + c, block.row[i]);
        }
    }
}

}  // namespace wsss_fast::WSSS_FAST_ISA
