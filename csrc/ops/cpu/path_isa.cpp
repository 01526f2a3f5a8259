#include "ops/cpu/path_isa.h"

#include "ops/cpu/path_blocks.h"

namespace wsss_fast::WSSS_FAST_ISA {
namespace {

template <typename T>
struct Maximum {
    PathPieces path;
    const T* source;
    T* out;

    template <int Width>
    [[gnu::always_inline]] inline void take(std::int64_t i) const {
        Pixels<T, Width> block;
        block.load_maximum(path, source + i);
        block.store(out + i);
    }
};

template <typename T>
void maximum(PathPieces path, const T* source, std::int64_t count, T* out) {
    cover<T>(count, Maximum<T>{path, source, out});
}

template <typename T>
struct Affinity {
    PathPieces path;
    const T* source;
    T* out;

    template <int Width>
    [[gnu::always_inline]] inline void take(std::int64_t i) const {
        Pixels<T, Width> block;
        block.load_maximum(path, source + i);
        block.subtract_from(T(1));
        block.store(out + i);
    }
};

template <typename T>
void affinity(PathPieces path, const T* source, std::int64_t count, T* out) {
    cover<T>(count, Affinity<T>{path, source, out});
}

template <typename T>
struct HandOut {
    PathPieces path;
    const T* source;
    const T* maximum;
    const T* grad;
    T* target;
    std::int64_t done = 0;

    template <int Width>
    [[gnu::always_inline]] inline void take(std::int64_t i) {
        Pixels<T, Width> largest;
        Pixels<T, Width> left;
        largest.load(maximum + i);
        left.load(grad + i);
        // Pixels that come a second time have nothing left.
        if (Width > 1 && i < done) left.clear(static_cast<int>(done - i));
        left.hand_out(path, source + i, largest, target + i);
        done = i + Width;
    }
};

template <typename T>
void hand_out(PathPieces path, const T* source, const T* maximum, const T* grad, std::int64_t count,
              T* target) {
    cover<T>(count, HandOut<T>{path, source, maximum, grad, target});
}

template <typename T>
struct Join {
    const T* first;
    const T* second;
    T* joined;

    template <int Width>
    [[gnu::always_inline]] inline void take(std::int64_t i) const {
        Pixels<T, Width> block;
        block.load(first + i);
        block.raise(second + i);
        block.store(joined + i);
    }
};

template <typename T>
void join(const T* first, const T* second, std::int64_t count, T* joined) {
    cover<T>(count, Join<T>{first, second, joined});
}

template <bool kWhereEqual, typename T>
void add_where(const T* __restrict first, const T* __restrict joined, const T* __restrict grad,
               std::int64_t count, T* __restrict target) {
    for (std::int64_t i = 0; i < count; ++i) {
        const T g = grad[i];
        target[i] += (first[i] == joined[i]) == kWhereEqual ? g : T(0);
    }
}

template <typename T>
void split(const T* first, const T* joined, const T* grad, std::int64_t count, T* first_target,
           T* second_target) {
    // One target after the other: where they overlap, the order of the sums is then that of pixels.
    add_where<true>(first, joined, grad, count, first_target);
    add_where<false>(first, joined, grad, count, second_target);
}

}  // namespace

template <typename T>
PathLoops<T> make_path_loops() {
    return {&maximum<T>, &affinity<T>, &hand_out<T>, &join<T>, &split<T>};
}

template PathLoops<float> make_path_loops();
template PathLoops<double> make_path_loops();

}  // namespace wsss_fast::WSSS_FAST_ISA
