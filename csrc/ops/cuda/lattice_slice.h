#pragma once

#include <cstdint>

#include "common/cuda/fast_math.h"
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
    for (int k = 0; k < kWidth; ++k)
        sum.value[k] = multiply_add(factor, pack.value[k], sum.value[k]);
}

// The pack of row `row`, where a row has `row_bytes`: with 32-bit numbers without signs, its
// address takes one instruction.
template <int kWidth, typename T>
__device__ Pack<T, kWidth> pack_of_row(const Pack<T, kWidth>* rows, std::int32_t row,
                                       std::uint32_t row_bytes) {
    const auto* bytes = reinterpret_cast<const char*>(rows);
    return *reinterpret_cast<const Pack<T, kWidth>*>(
        bytes + std::uint64_t{static_cast<std::uint32_t>(row)} * row_bytes);
}

// Adds what kCount corners have. All loads are under way before the first is needed.
template <int kCount, int kWidth, typename T>
__device__ void add_corners(Pack<T, kWidth>& sum, const Corner<T>* corner,
                            const Pack<T, kWidth>* rows, std::uint32_t row_bytes) {
    // As many together as one load takes.
    constexpr int kOfGroup = kCount % 2 == 0 && sizeof(Corner<T>) == 8 ? 2 : 1;
    struct alignas(kOfGroup * sizeof(Corner<T>)) CornerGroup {
        Corner<T> corner[kOfGroup];
    };
    CornerGroup group[kCount / kOfGroup];
    for (int i = 0; i < kCount / kOfGroup; ++i)
        group[i] = reinterpret_cast<const CornerGroup*>(corner)[i];
    Pack<T, kWidth> pack[kCount];
    for (int r = 0; r < kCount; ++r) {
        const std::int32_t row = group[r / kOfGroup].corner[r % kOfGroup].row;
        pack[r] = pack_of_row(rows, row, row_bytes);
    }
    for (int r = 0; r < kCount; ++r)
        add_scaled(sum, group[r / kOfGroup].corner[r % kOfGroup].weight, pack[r]);
}

// One pack of what a lattice holds at a point. `rows`: the pack in row 0 of the lattice, `packs` of
// them make a row.
template <int kWidth, typename T>
__device__ Pack<T, kWidth> slice(const LatticeView<T>& lattice, std::int64_t point,
                                 const Pack<T, kWidth>* rows, std::int64_t packs) {
    const auto row_bytes = static_cast<std::uint32_t>(packs * sizeof(Pack<T, kWidth>));
    const Corner<T>* corner = lattice.corner + point * lattice.corners();
    Pack<T, kWidth> sum = zero_pack<T, kWidth>();
    // d = 5, of colours, and d = 2, of positions.
    if (lattice.dims == 5) {
        add_corners<6>(sum, corner, rows, row_bytes);
    } else if (lattice.dims == 2) {
        add_corners<3>(sum, corner, rows, row_bytes);
    } else {
#if defined(__CUDACC__)
#pragma unroll 1
#endif
        for (int r = 0; r < lattice.corners(); ++r)
            add_corners<1>(sum, corner + r, rows, row_bytes);
    }
    return sum;
}

}  // namespace wsss_fast::cuda
