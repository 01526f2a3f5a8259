#pragma once

#include "common/simd.h"
#include "ops/cpu/path_isa.h"

// What the loops over paths do to a block of pixels, for the *_isa.cpp files.
namespace wsss_fast::WSSS_FAST_ISA {

// Pixels side by side, in registers. All sets work on blocks of the same size, whatever a register
// holds: a value may get parts of the gradient from two pixels of a block, and then the block is
// what says in which order.
//
// Made in place and handed on by reference, and inlined always: gcc copies such a structure through
// memory, in smaller pieces than it then reads.
template <typename T, int Width>
struct Pixels {
    static constexpr int kLanes = lanes<T>(Width);
    static constexpr int kPacks = Width / kLanes;
    using P = Pack<T, kLanes>;
    using V = typename P::value;

    V pack[kPacks];

    [[gnu::always_inline]] inline void load(const T* from) {
        for (int i = 0; i < kPacks; ++i) pack[i] = P::load(from + i * kLanes);
    }
    [[gnu::always_inline]] inline void store(T* to) const {
        for (int i = 0; i < kPacks; ++i) P::store(to + i * kLanes, pack[i]);
    }
    // The larger of what it holds and what is at `from`.
    [[gnu::always_inline]] inline void raise(const T* from) {
        for (int i = 0; i < kPacks; ++i) {
            const V other = P::load(from + i * kLanes);
            pack[i] = other > pack[i] ? other : pack[i];
        }
    }
    // The maximum of the pieces of a path.
    [[gnu::always_inline]] inline void load_maximum(const PathPieces& path, const T* source) {
        load(source + path.shifts[0]);
        for (int s = 1; s < path.count; ++s) raise(source + path.shifts[s]);
    }
    [[gnu::always_inline]] inline void subtract_from(T x) {
        for (int i = 0; i < kPacks; ++i) pack[i] = P::all(x) - pack[i];
    }
    // The first n become zero.
    [[gnu::always_inline]] inline void clear(int n) {
        T keep[2 * Width];
        for (int i = 0; i < Width; ++i) keep[i] = T(0);
        for (int i = Width; i < 2 * Width; ++i) keep[i] = T(1);
        for (int i = 0; i < kPacks; ++i) {
            const V kept = P::load(keep + Width - n + i * kLanes);
            pack[i] = kept > V{} ? pack[i] : V{};
        }
    }
    // Goes where `source` is `maximum`: to the first such piece of the path, in `target`.
    [[gnu::always_inline]] inline void hand_out(const PathPieces& path, const T* source,
                                                const Pixels& maximum, T* target) {
        for (int s = 0; s < path.count; ++s) {
            const T* const from = source + path.shifts[s];
            T* const to = target + path.shifts[s];
            for (int i = 0; i < kPacks; ++i) {
                const auto here = P::load(from + i * kLanes) == maximum.pack[i];
                P::store(to + i * kLanes, P::load(to + i * kLanes) + (here ? pack[i] : V{}));
                pack[i] = here ? V{} : pack[i];
            }
        }
    }
};

// A block stays in registers over all pieces of its path; a row has some blocks and then some short
// ones.
template <typename T>
constexpr int kBlock = 128 / static_cast<int>(sizeof(T));
template <typename T>
constexpr int kShort = 32 / static_cast<int>(sizeof(T));

// work.template take<Width>(i) for blocks of pixels that cover a row. Where the last short block
// would reach too far it starts early, so some pixels are done twice.
template <typename T, typename Work>
[[gnu::always_inline]] inline void cover(std::int64_t count, Work work) {
    std::int64_t i = 0;
    for (; i + kBlock<T> <= count; i += kBlock<T>) work.template take<kBlock<T>>(i);
    for (; i + kShort<T> <= count; i += kShort<T>) work.template take<kShort<T>>(i);
    if (i == count) return;
    if (count >= kShort<T>) return work.template take<kShort<T>>(count - kShort<T>);
    for (; i < count; ++i) work.template take<1>(i);
}

}  // namespace wsss_fast::WSSS_FAST_ISA
