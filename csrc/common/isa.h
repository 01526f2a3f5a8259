#pragma once

// Instruction sets. Files named *_isa.cpp hold hot loops and are compiled once for each set, with
// WSSS_FAST_ISA naming it; everything of ours that they include lives in a namespace of that name,
// so that no inline function compiled for a wide set is linked into the code of a narrow one. They
// use no templates of the standard library that could be left out of line, for the same reason.
// Without the macro (all other files) the baseline is meant.
#if !defined(WSSS_FAST_ISA)
#define WSSS_FAST_ISA baseline
#endif

namespace wsss_fast {

enum class Isa { kBaseline, kAvx2, kAvx512 };

// The widest set that this build has and this CPU runs, or the one that WSSS_FAST_ISA in the
// environment names (baseline, avx2, avx512; read once). All give the same bits. Throws
// std::invalid_argument where the environment asks for what there is not.
Isa isa();
const char* isa_name(Isa set);

// The entry of a table with one for each set, in the order of the enumeration.
template <typename Entry>
const Entry& for_isa(const Entry* entries) {
    return entries[static_cast<int>(isa())];
}

}  // namespace wsss_fast
