#include "ops/cpu/path_isa.h"

#include "common/simd.h"

namespace wsss_fast::WSSS_FAST_ISA {
namespace {

// Pixels side by side. All sets work on blocks of the same size, whatever their registers hold: a
// value may get parts of the gradient from two pixels of a block, and then the block is what says
// in which order.
template <typename T, int Width>
struct Pixels {
    static constexpr int kLanes = lanes<T>(Width);
    static constexpr int kPacks = Width / kLanes;
    using P = Pack<T, kLanes>;

    typename P::value pack[kPacks];

    static Pixels load(const T* from) {
        Pixels pixels;
        for (int i = 0; i < kPacks; ++i) pixels.pack[i] = P::load(from + i * kLanes);
        return pixels;
    }
    void store(T* to) const {
        for (int i = 0; i < kPacks; ++i) P::store(to + i * kLanes, pack[i]);
    }
    void raise(const Pixels& other) {
        for (int i = 0; i < kPacks; ++i) {
            pack[i] = other.pack[i] > pack[i] ? other.pack[i] : pack[i];
        }
    }
    Pixels taken_from(T x) const {
        Pixels rest;
        for (int i = 0; i < kPacks; ++i) rest.pack[i] = P::all(x) - pack[i];
        return rest;
    }
    // The first n become zero.
    void clear(int n) {
        if constexpr (Width > 1) {
            T keep[2 * Width] = {};
            for (int i = Width; i < 2 * Width; ++i) keep[i] = T(1);
            const Pixels kept = load(keep + Width - n);
            for (int i = 0; i < kPacks; ++i) {
                pack[i] = kept.pack[i] > typename P::value{} ? pack[i] : typename P::value{};
            }
        }
    }
    // Adds to `target` and takes off where the two are equal.
    void move_where_equal(const Pixels& one, const Pixels& other, T* target) {
        const typename P::value nothing{};
        for (int i = 0; i < kPacks; ++i) {
            const auto here = one.pack[i] == other.pack[i];
            T* const to = target + i * kLanes;
            P::store(to, P::load(to) + (here ? pack[i] : nothing));
            pack[i] = here ? nothing : pack[i];
        }
    }
};

template <int N>
struct Constant {
    constexpr operator int() const { return N; }
};

// A block stays in registers over all pieces of its path; a row has some blocks and then some short
// ones.
template <typename T>
constexpr int kBlock = 128 / static_cast<int>(sizeof(T));
template <typename T>
constexpr int kShort = 32 / static_cast<int>(sizeof(T));

template <int Width, typename T>
Pixels<T, Width> maximum_of(const PathPieces& path, const T* source) {
    auto largest = Pixels<T, Width>::load(source + path.shifts[0]);
    for (int s = 1; s < path.count; ++s) {
        largest.raise(Pixels<T, Width>::load(source + path.shifts[s]));
    }
    return largest;
}

// take(width, i) for blocks of pixels that cover a row. Where the last short block would reach too
// far it starts early, so some pixels are done twice.
template <typename T, typename Take>
void cover(std::int64_t count, Take take) {
    std::int64_t i = 0;
    for (; i + kBlock<T> <= count; i += kBlock<T>) take(Constant<kBlock<T>>{}, i);
    for (; i + kShort<T> <= count; i += kShort<T>) take(Constant<kShort<T>>{}, i);
    if (i == count) return;
    if (count >= kShort<T>) return take(Constant<kShort<T>>{}, count - kShort<T>);
    for (; i < count; ++i) take(Constant<1>{}, i);
}

template <typename T>
void maximum(PathPieces path, const T* source, std::int64_t count, T* out) {
    cover<T>(count, [=](auto width, std::int64_t i) {
        maximum_of<width>(path, source + i).store(out + i);
    });
}

template <typename T>
void affinity(PathPieces path, const T* source, std::int64_t count, T* out) {
    cover<T>(count, [=](auto width, std::int64_t i) {
        maximum_of<width>(path, source + i).taken_from(T(1)).store(out + i);
    });
}

template <typename T, int Width>
void hand_out_block(const PathPieces& path, const T* source, const Pixels<T, Width>& largest,
                    Pixels<T, Width> left, T* target) {
    for (int s = 0; s < path.count; ++s) {
        const std::int64_t shift = path.shifts[s];
        left.move_where_equal(Pixels<T, Width>::load(source + shift), largest, target + shift);
    }
}

template <typename T>
void hand_out(PathPieces path, const T* source, const T* largest, const T* grad, std::int64_t count,
              T* target) {
    std::int64_t done = 0;
    cover<T>(count, [&](auto width, std::int64_t i) {
        using Block = Pixels<T, width>;
        Block left = Block::load(grad + i);
        // Pixels that come a second time have nothing left.
        if (i < done) left.clear(static_cast<int>(done - i));
        hand_out_block<T, width>(path, source + i, Block::load(largest + i), left, target + i);
        done = i + width;
    });
}

template <typename T>
void join(const T* first, const T* second, std::int64_t count, T* joined) {
    cover<T>(count, [=](auto width, std::int64_t i) {
        auto larger = Pixels<T, width>::load(first + i);
        larger.raise(Pixels<T, width>::load(second + i));
        larger.store(joined + i);
    });
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
