#pragma once

#include <cstdint>

#include "common/isa.h"
#include "ops/cpu/lattice_isa.h"

// The hot loops of mean field over one tile of points, built once for each instruction set. Between
// them the values of a tile are planes, [channels][kTilePoints]: a loop over points then needs no
// sum across vector lanes, and adds in the order of the classes whatever the set.
namespace wsss_fast {

template <typename T>
struct CrfLoops {
    // Softmax over `classes` planes in place. False if one of the first `count` points has no
    // finite result: one value was NaN or +infinity, or all were -infinity.
    bool (*softmax)(T* planes, int classes, std::int64_t count);
    // energies += messages for all classes but the last; that one gets what they leave of `total`.
    void (*apply_but_one)(const T* messages, const T* total, int classes, T* energies);
    // energies -= compat * messages, for a diagonal [classes] or a matrix [classes][classes].
    void (*apply_diagonal)(const T* messages, const T* compat, int classes, T* energies);
    void (*apply_matrix)(const T* messages, const T* compat, int classes, T* energies);
    // The first class with the greatest value.
    void (*argmax)(const T* planes, std::int64_t classes, std::int32_t* labels);
};

// Those of the set that is in use.
template <typename T>
const CrfLoops<T>& crf_loops();

namespace baseline {
template <typename T>
CrfLoops<T> make_crf_loops();
}
namespace avx2 {
template <typename T>
CrfLoops<T> make_crf_loops();
}
namespace avx512 {
template <typename T>
CrfLoops<T> make_crf_loops();
}

}  // namespace wsss_fast
