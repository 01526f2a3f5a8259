#pragma once

#include <cstdint>

#include "common/cuda/launch.h"
#include "ops/cuda/lattice_rows.h"

namespace wsss_fast::cuda {

template <typename T, int kWidth>
__device__ Pack<T, kWidth> zero_pack() {
    Pack<T, kWidth> pack;
    for (int k = 0; k < kWidth; ++k) pack.value[k] = 0;
    return pack;
}

// Takes the pack by value: from memory it then comes in one load of up to 16 bytes, by reference in
// one for each number.
template <typename T, int kWidth>
__device__ void add_scaled(Pack<T, kWidth>& sum, T factor, Pack<T, kWidth> pack) {
    for (int k = 0; k < kWidth; ++k) sum.value[k] += factor * pack.value[k];
}

// One pack of what a lattice holds at a point. `rows`: the pack in row 0 of the lattice, `packs` of
// them make a row.
template <int kWidth, typename T>
__device__ Pack<T, kWidth> slice(const LatticeView<T>& lattice, std::int64_t point,
                                 const Pack<T, kWidth>* rows, std::int64_t packs) {
    Pack<T, kWidth> sum = zero_pack<T, kWidth>();
    for (int r = 0; r < lattice.corners(); ++r) {
        const std::int64_t at = r * lattice.points + point;
        add_scaled(sum, lattice.weight[at], rows[lattice.offset[at] * packs]);
    }
    return sum;
}

}  // namespace wsss_fast::cuda
