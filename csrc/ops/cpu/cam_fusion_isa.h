#pragma once

#include <cstdint>

#include "common/columns.h"
#include "common/isa.h"

// The hot loops of cam_fusion over one row, built once for each instruction set.
namespace wsss_fast {

// One size's part in an output row: two source rows, both stretched to the output's columns.
template <typename T>
struct CamRows {
    const T* low;
    const T* high;
    T weight;  // of high
};

// How a row of an input enters the sum of the inputs of its size.
struct CamAdding {
    bool flipped;  // from back to front
    bool relu;     // without its negative values
    bool first;    // begins the sum
};

template <typename T>
struct CamLoops {
    // sum = or += row; false if a value is not within the limit.
    bool (*add)(const T* row, std::int64_t width, CamAdding how, T limit, T* sum);
    // All columns of a row, in whole groups.
    void (*stretch)(const T* row, const Columns<T>& columns, std::int64_t count, T* out);
    // out = sum over the sizes in their order, without its negative values where `relu` says so.
    // The rows are padded to whole groups with their last column. `most` keeps, in kColumnGroup
    // lanes of which a set may use but some, the largest values so far.
    void (*blend)(const CamRows<T>* sizes, std::int64_t size_count, std::int64_t count, bool relu,
                  T* out, T* most);
    // out /= divisor.
    void (*divide)(std::int64_t count, T divisor, T* out);
};

// Those of the set that is in use.
template <typename T>
const CamLoops<T>& cam_loops();

namespace baseline {
template <typename T>
CamLoops<T> make_cam_loops();
}
namespace avx2 {
template <typename T>
CamLoops<T> make_cam_loops();
}
namespace avx512 {
template <typename T>
CamLoops<T> make_cam_loops();
}

}  // namespace wsss_fast
