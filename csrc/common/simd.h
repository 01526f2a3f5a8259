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
    typedef T value __attribute__((vector_size(Lanes * sizeof(T)), aligned(alignof(T)), may_alias));

    static value load(const T* from) { return *reinterpret_cast<const value*>(from); }
    static void store(T* to, value v) { *reinterpret_cast<value*>(to) = v; }
    static value all(T x) { return x - value{}; }
};

template <typename T>
struct Pack<T, 1> {
    using value = T;

    static value load(const T* from) { return *from; }
    static void store(T* to, value v) { *to = v; }
    static value all(T x) { return x; }
};

}  // namespace wsss_fast::WSSS_FAST_ISA
