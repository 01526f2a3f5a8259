#pragma once

#include <cstdint>

#include "common/columns.h"
#include "common/simd.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace wsss_fast::WSSS_FAST_ISA {

// Elements of memory by index: with `near` all indices are below Lanes, with `far` below 2 * Lanes.
template <typename T, int Lanes>
struct Taken {
    using Value = typename Pack<T, Lanes>::value;
    struct Index {
        std::int32_t at[Lanes];
    };

    static Index index(const std::int32_t* low, std::int32_t base) {
        Index result;
        for (int l = 0; l < Lanes; ++l) result.at[l] = low[l] - base;
        return result;
    }
    static Value near(const T* from, const Index& index) {
        Value result;
        for (int l = 0; l < Lanes; ++l) result[l] = from[index.at[l]];
        return result;
    }
    static Value far(const T* from, const Index& index) { return near(from, index); }
};

#if defined(__AVX512F__)
template <>
struct Taken<float, 16> {
    using Value = Pack<float, 16>::value;
    using Index = __m512i;
    // The forms without a mask start from a register left undefined, of which some compilers warn.
    static constexpr __mmask16 kAll = 0xffff;

    static Index index(const std::int32_t* low, std::int32_t base) {
        return _mm512_sub_epi32(_mm512_loadu_si512(low), _mm512_set1_epi32(base));
    }
    static Value near(const float* from, Index index) {
        return _mm512_maskz_permutexvar_ps(kAll, index, _mm512_loadu_ps(from));
    }
    static Value far(const float* from, Index index) {
        return _mm512_permutex2var_ps(_mm512_loadu_ps(from), index, _mm512_loadu_ps(from + 16));
    }
};

template <>
struct Taken<double, 8> {
    using Value = Pack<double, 8>::value;
    using Index = __m512i;
    static constexpr __mmask8 kAll = 0xff;

    static Index index(const std::int32_t* low, std::int32_t base) {
        const __m256i wide = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(low));
        return _mm512_maskz_cvtepi32_epi64(kAll, _mm256_sub_epi32(wide, _mm256_set1_epi32(base)));
    }
    static Value near(const double* from, Index index) {
        return _mm512_maskz_permutexvar_pd(kAll, index, _mm512_loadu_pd(from));
    }
    static Value far(const double* from, Index index) {
        return _mm512_permutex2var_pd(_mm512_loadu_pd(from), index, _mm512_loadu_pd(from + 8));
    }
};
#elif defined(__AVX2__)
template <>
struct Taken<float, 8> {
    using Value = Pack<float, 8>::value;
    using Index = __m256i;

    static Index index(const std::int32_t* low, std::int32_t base) {
        const __m256i wide = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(low));
        return _mm256_sub_epi32(wide, _mm256_set1_epi32(base));
    }
    static Value near(const float* from, Index index) {
        return _mm256_permutevar8x32_ps(_mm256_loadu_ps(from), index);
    }
    static Value far(const float* from, Index index) {
        // Permuting looks at the lowest three bits; the fourth says which of the two it is.
        const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
        return _mm256_blendv_ps(near(from, index), near(from + 8, index), upper);
    }
};
#endif

// Columns beside each other, as many as fill a register, of rows that lie `origin` samples into
// their source.
template <typename T, Spread kSpread>
class Stretch {
  public:
    static constexpr int kLanes = kRegisterLanes<T>;
    static_assert(kColumnGroup % kLanes == 0);
    using P = Register<T>;
    using Value = typename P::value;

    Stretch(const Columns<T>& columns, std::int64_t x, std::int64_t origin) {
        const std::int32_t* low = columns.low + x;
        const std::int32_t base = low[0] < low[kLanes - 1] ? low[0] : low[kLanes - 1];
        begin_ = base - origin;
        index_ = Take::index(low, base);
        first_ = P::load(columns.first + x);
        second_ = P::load(columns.second + x);
    }

    Value operator()(const T* row) const {
        const T* from = row + begin_;
        if constexpr (kSpread == Spread::kWhole) return Take::near(from, index_);
        if constexpr (kSpread == Spread::kNear) {
            return first_ * Take::near(from, index_) + second_ * Take::near(from + 1, index_);
        }
        return first_ * Take::far(from, index_) + second_ * Take::far(from + 1, index_);
    }

  private:
    using Take = Taken<T, kLanes>;
    std::int64_t begin_;
    typename Take::Index index_;
    Value first_;
    Value second_;
};

}  // namespace wsss_fast::WSSS_FAST_ISA
