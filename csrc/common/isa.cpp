#include "common/isa.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "common/refuse.h"

namespace wsss_fast {
namespace {

Isa supported() {
#if defined(WSSS_FAST_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
        return Isa::kAvx512;
    }
    if (__builtin_cpu_supports("avx2")) return Isa::kAvx2;
#endif
    return Isa::kBaseline;
}

Isa allowed() {
    const char* wish = std::getenv("WSSS_FAST_ISA");
    const Isa best = supported();
    if (!wish) return best;
    for (const Isa set : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}) {
        if (std::strcmp(wish, isa_name(set)) != 0) continue;
        if (set > best) {
            refuse("WSSS_FAST_ISA: expected at most ", isa_name(best), " on this machine, got ",
                   wish);
        }
        return set;
    }
    refuse("WSSS_FAST_ISA: expected baseline, avx2 or avx512, got ", wish);
}

}  // namespace

Isa isa() {
    static const Isa chosen = allowed();
    return chosen;
}

const char* isa_name(Isa set) {
    switch (set) {
        case Isa::kAvx512:
            return "avx512";
        case Isa::kAvx2:
            return "avx2";
        case Isa::kBaseline:
            break;
    }
    return "baseline";
}

}  // namespace wsss_fast
