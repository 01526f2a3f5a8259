#pragma once

#include <cstdint>

#include "common/isa.h"

// The loops over paths (common/path_plan.h), built once for each instruction set. They work on one
// row of pixels and one path: `source` is the row's first pixel in the plane of part 0, and a piece
// is a shift from there, in elements, into the plane of its part. Nothing outside of the pieces of
// the `count` pixels is touched.
namespace wsss_fast {

struct PathPieces {
    const std::int64_t* shifts;
    int count;  // at least 1
};

template <typename T>
struct PathLoops {
    // maximum[i] = the largest value on the path from pixel i.
    void (*maximum)(PathPieces path, const T* source, std::int64_t count, T* maximum);
    // affinity[i] = 1 - that.
    void (*affinity)(PathPieces path, const T* source, std::int64_t count, T* affinity);
    // The gradient of `maximum`: of the pieces of pixel i that hold maximum[i], the first one gets
    // grad[i] added in `target`, which lies as `source` does.
    void (*hand_out)(PathPieces path, const T* source, const T* maximum, const T* grad,
                     std::int64_t count, T* target);
    // A part from its two halves: joined[i] = the larger of first[i] and second[i].
    void (*join)(const T* first, const T* second, std::int64_t count, T* joined);
    // The gradient of `join`; of equals the first gets it. The two targets may
    // overlap each other.
    void (*split)(const T* first, const T* joined, const T* grad, std::int64_t count,
                  T* first_target, T* second_target);
};

// Those of the set that is in use.
template <typename T>
const PathLoops<T>& path_loops();

namespace baseline {
template <typename T>
PathLoops<T> make_path_loops();
}
namespace avx2 {
template <typename T>
PathLoops<T> make_path_loops();
}
namespace avx512 {
template <typename T>
PathLoops<T> make_path_loops();
}

}  // namespace wsss_fast
