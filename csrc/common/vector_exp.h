#pragma once

#include <cstdint>

#include "common/exp_nonpositive.h"
#include "common/simd.h"

namespace wsss_fast::WSSS_FAST_ISA {

// exp_nonpositive of each element of several packs, to the bit.
template <typename P, int Count>
inline Several<P, Count> exp_nonpositive_of(const Several<P, Count>& x) {
    using Value = typename P::value;
    using All = Several<P, Count>;
    constexpr int kLanes = static_cast<int>(sizeof(Value) / sizeof(x.each[0][0]));
    if constexpr (sizeof(x.each[0][0]) == sizeof(float)) {
        typedef std::int32_t Bits __attribute__((vector_size(sizeof(Value))));
        const Value least = P::all(-87.0f);
        const auto parts = exp_parts(
            All::of([&](int i) { return P::choose(least > x.each[i], least, x.each[i]); }));
        return All::of([&](int i) {
            const Bits shifted = reinterpret_cast<Bits>(parts.shifted.each[i]);
            const Bits power = (shifted << 23) & (x.each[i] >= least);
            return parts.e_r.each[i] * reinterpret_cast<Value>(power);
        });
    } else {
        return All::of([&](int i) {
            Value result;
            for (int l = 0; l < kLanes; ++l) result[l] = exp_nonpositive(x.each[i][l]);
            return result;
        });
    }
}

}  // namespace wsss_fast::WSSS_FAST_ISA
