#pragma once

// What CUDA adds to C++, for kernels that the host's compiler compiles and the host runs, to be
// tested under its sanitizers. Only what is named here is there: use nothing else in a kernel.

#include "testing/atomics_on_host.h"
#include "testing/memory_on_host.h"
#include "testing/runtime_on_host.h"
#include "testing/threads_on_host.h"
#include "testing/warp_on_host.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

template <typename T>
T __ldg(const T* address) {
    return *address;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __ffsll(long long bits) { return __builtin_ffsll(bits); }
inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits)); }
inline int __clzll(long long bits) {
    return bits == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(bits));
}
