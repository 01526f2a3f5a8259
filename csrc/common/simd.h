#pragma once

#include "common/isa.h"

// Packs of numbers that compilers keep in vector registers, for the *_isa.cpp files. Arithmetic is
// element by element with the usual operators, so that results do not depend on how wide a pack is.
namespace wsss_fast::WSSS_FAST_ISA {

#if defined(__AVX512F__)
constexpr int kRegisterBytes = 64;
#elif defined(__AVX2__)
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 16;
#endif

// The compiler's own: no inline function of the standard library may be left out of line.
inline float magnitude(float value) { return __builtin_fabsf(value); }
inline double magnitude(double value) { return __builtin_fabs(value); }

// The most lanes, a power of two, that fit a register and divide the width.
template <typename T>
constexpr int lanes(int width) {
    int l = kRegisterBytes / static_cast<int>(sizeof(T));
    while (width % l != 0) l /= 2;
    return l;
}

// `value` is aligned like T and may alias: memory is read and written through it.
template <typename T, int Lanes>
struct Pack {
    static constexpr int kLanes = Lanes;
    typedef T value __attribute__((vector_size(Lanes * sizeof(T)), aligned(alignof(T)), may_alias));

    static value load(const T* from) { return *reinterpret_cast<const value*>(from); }
    static void store(T* to, value v) { *reinterpret_cast<value*>(to) = v; }
    static value all(T x) { return x - value{}; }

    // What a comparison gives, and a choice between two packs by it.
    using mask = decltype(value{} < value{});
    static value choose(mask which, value yes, value no) { return which ? yes : no; }
};

template <typename T>
struct Pack<T, 1> {
    static constexpr int kLanes = 1;
    using value = T;

    static value load(const T* from) { return *from; }
    static void store(T* to, value v) { *to = v; }
    static value all(T x) { return x; }

    using mask = bool;
    static value choose(mask which, value yes, value no) { return which ? yes : no; }
};

// The pack that fills a register.
template <typename T>
constexpr int kRegisterLanes = kRegisterBytes / static_cast<int>(sizeof(T));
template <typename T>
using Register = Pack<T, kRegisterLanes<T>>;

// Several packs that take each step of a calculation one after another. A core looks only so far
// ahead: a long chain of dependent steps keeps it waiting unless others run beside it.
template <typename P, int Count>
struct Several {
    typename P::value each[Count];

    template <typename Step>
    static Several of(Step step) {
        Several result;
        for (int i = 0; i < Count; ++i) result.each[i] = step(i);
        return result;
    }
    friend Several operator+(const Several& a, const Several& b) {
        return of([&](int i) { return a.each[i] + b.each[i]; });
    }
    friend Several operator-(const Several& a, const Several& b) {
        return of([&](int i) { return a.each[i] - b.each[i]; });
    }
    friend Several operator*(const Several& a, const Several& b) {
        return of([&](int i) { return a.each[i] * b.each[i]; });
    }
    template <typename Number>
    friend Several operator+(const Several& a, Number b) {
        return of([&](int i) { return a.each[i] + b; });
    }
    template <typename Number>
    friend Several operator-(const Several& a, Number b) {
        return of([&](int i) { return a.each[i] - b; });
    }
    template <typename Number>
    friend Several operator*(const Several& a, Number b) {
        return of([&](int i) { return a.each[i] * b; });
    }
};

}  // namespace wsss_fast::WSSS_FAST_ISA
