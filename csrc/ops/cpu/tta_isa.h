#pragma once

#include <cstdint>

#include "common/columns.h"
#include "common/isa.h"

// The hot loops of tta_merge, built once for each instruction set. They take kColumnGroup pixels of
// a row at a time, whose values are planes, [classes][kColumnGroup]: sums over the classes then run
// in their order whatever the set, and all classes of the few pixels stay in the innermost cache.
namespace wsss_fast {

// One input, blended between the source rows that some output rows lie between.
template <typename T>
struct TtaRows {
    const T* data;           // [rows][classes][stride]
    std::int64_t rows;       // output rows
    std::int64_t classes;    // C
    std::int64_t stride;     // elements from class to class
    std::int64_t origin;     // the source column that data starts with
    const Columns<T>* axis;  // of the whole output row
};

// What is wanted from memory next: a piece of two source rows, in every class.
struct TtaAhead {
    const char* low;     // in the first class
    const char* high;    // the same where one row does
    std::int64_t plane;  // bytes from class to class
    std::int64_t lines;  // cache lines of the piece; 0 for nothing
};

// Resamples the columns [begin, end), applies the activation and adds the result to sums, or with
// `first` begins them: [groups][rows][classes][kColumnGroup]. `values` is scratch for the classes
// of one group.
template <typename T>
using TtaAdd = void (*)(const TtaRows<T>& rows, const TtaAhead& ahead, std::int64_t begin,
                        std::int64_t end, bool first, T* values, T* sums);

template <typename T>
struct TtaLoops {
    TtaAdd<T> add_plain;
    TtaAdd<T> add_softmax;
    TtaAdd<T> add_sigmoid;
    // out = (1 - weight) * low + weight * high; false if a result is not within the limit.
    bool (*blend)(const T* low, const T* high, T weight, std::int64_t count, T limit, T* out);
    // out = sums / divisor for one class, of groups that are `stride` apart.
    void (*mean)(const T* sums, std::int64_t stride, T divisor, std::int64_t count, T* out);
    // The first class with the largest sum.
    void (*argmax)(const T* sums, std::int64_t classes, std::int32_t* labels);
};

// Those of the set that is in use.
template <typename T>
const TtaLoops<T>& tta_loops();

namespace baseline {
template <typename T>
TtaLoops<T> make_tta_loops();
}
namespace avx2 {
template <typename T>
TtaLoops<T> make_tta_loops();
}
namespace avx512 {
template <typename T>
TtaLoops<T> make_tta_loops();
}

}  // namespace wsss_fast
