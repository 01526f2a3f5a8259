#pragma once

#include <cstdint>

#include "common/isa.h"
#include "ops/random_walk.h"

// The hot loops of the random walk over one row of pixels, built once for each instruction set.
namespace wsss_fast {

// A neighbour in the lower half-plane, in elements from a pixel. Its opposite lies at -shift; the
// affinity with that one is stored where it is this very neighbour: at `mirrored`.
struct WalkNeighbour {
    std::int64_t shift;     // in a map
    std::int64_t weight;    // in the weights
    std::int64_t mirrored;  // in the weights
};

// How an image lies in memory. Rows are filled up to whole registers of any set, and zeros as wide
// as the radius reaches stand between one row and the next, so that a row has no ends to look
// after: weights there are 0.
struct WalkLayout {
    static constexpr std::int64_t kAlignment = 64;  // of rows, in bytes: a register of any set

    std::int64_t height;
    std::int64_t width;
    std::int64_t stride;              // from a row to the next, and from one neighbour's weights
    std::int64_t plane;               // from a map to the next
    int count;                        // neighbours
    int reach;                        // rows of the farthest
    const WalkNeighbour* neighbours;  // [count], by rising distance in rows
    const int* ends;                  // [reach + 1]: how many lie at most so many rows away
};

// next = scale * (T current) - keep * previous, in the place of previous, for all maps of a row.
template <typename T>
struct WalkStep {
    const T* current;
    T* previous;
    T scale;
    T keep;
    T* sum;         // sum += coefficient * next; null: none is kept
    T coefficient;  // of the sum
};

// The same for two walks at once, x (forward in time or back) and z (of the gradient), to whose
// next coefficient * grad is added. In passing, what the gradient of the weights consists of:
//   pairs  += scale * (z_i - z_j) (x_j - x_i)   of each pixel i and its neighbour j
//   pixels += scale * z_i (T x - x)_i
template <typename T>
struct WalkGradientStep {
    const T* x;
    T* previous_x;
    const T* z;
    T* previous_z;
    const T* grad;
    T scale;
    T coefficient;
    T* pairs;   // laid out like the weights
    T* pixels;  // one map
};

// Pointers into arrays are to the first pixel of the image, `y` is the row.
template <typename T>
struct WalkLoops {
    // values = values ** exponent, 0 where that is below kLeastAffinity.
    void (*raise)(T* values, std::int64_t count, int exponent);
    // 1 / (1 + the weights of all neighbours).
    void (*invert_degrees)(const WalkLayout& layout, const T* weights, std::int64_t y,
                           T* inverse_degrees);
    void (*step)(const WalkLayout& layout, const T* weights, const T* inverse_degrees,
                 std::int64_t maps, const WalkStep<T>& step, std::int64_t y);
    void (*gradient_step)(const WalkLayout& layout, const T* weights, const T* inverse_degrees,
                          std::int64_t maps, const WalkGradientStep<T>& step, std::int64_t y);
};

// Those of the set that is in use.
template <typename T>
const WalkLoops<T>& walk_loops();

namespace baseline {
template <typename T>
WalkLoops<T> make_walk_loops();
}
namespace avx2 {
template <typename T>
WalkLoops<T> make_walk_loops();
}
namespace avx512 {
template <typename T>
WalkLoops<T> make_walk_loops();
}

}  // namespace wsss_fast
