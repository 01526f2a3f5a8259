#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <type_traits>

#include "common/cuda/shape.h"

// The threads of a launch as fibers of the thread that launches, which take turns where they meet.

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned in_x = 1, unsigned in_y = 1, unsigned in_z = 1)
        : x(in_x), y(in_y), z(in_z) {}
};

// Of the thread that runs now.
inline thread_local uint3 threadIdx{};
inline thread_local uint3 blockIdx{};
inline thread_local dim3 blockDim{};
inline thread_local dim3 gridDim{};

namespace wsss_fast::testing {

// Runs thread() as each thread of a launch. Throws std::runtime_error where threads that wait for
// each other do not meet, and what a thread threw.
void run_launch(const cuda::Shape& shape, const std::function<void()>& thread);

template <typename... Parameters>
void launch(void (*kernel)(Parameters...), const cuda::Shape& shape,
            std::common_type_t<Parameters>... args) {
    run_launch(shape, [&] { kernel(args...); });
}

// In which order the threads of a block begin, and go on after each barrier; blocks too.
enum class Order { kForward, kReversed, kShuffled };

// From here on launches take this order, or, without one, each the next of the three in turn. The
// n-th launch from now is shuffled by seed + n.
void set_order(std::optional<Order> order, std::uint32_t seed);

enum class Meeting {
    kSyncthreads,
    kClusterBarrier,
    kGridBarrier,
    // Of the lanes of a warp:
    kSyncwarp,
    kShfl,
    kShflUp,
    kShflDown,
    kShflXor,
    kBallot,
    kAny,
    kAll,
};

// Waits for the threads of the block, the cluster or the grid.
void meet(Meeting meeting);

// Waits for the lanes of the mask. A shuffle gives the value of lane `source`, all bits on where
// the mask lacks it; a vote the lanes whose value is not 0.
std::uint64_t meet_lanes(Meeting meeting, unsigned mask, std::uint64_t value, int source);

// The lanes among which a shuffle moves values.
struct Segment {
    explicit Segment(int width);
    int lane;  // this one
    int begin;
};

// One piece of memory a block and key, all bits on when the block starts.
void* shared_memory(const void* key, std::size_t bytes);

template <typename T>
T& block_shared() {
    static_assert(std::is_trivial_v<T> && alignof(T) <= alignof(std::max_align_t));
    static char key;  // its address stands for the type
    return *static_cast<T*>(shared_memory(&key, sizeof(T)));
}

template <typename T>
T* block_shared_array(std::int64_t count) {
    static_assert(std::is_trivial_v<T> && alignof(T) <= alignof(std::max_align_t));
    static char key;
    return static_cast<T*>(shared_memory(&key, static_cast<std::size_t>(count) * sizeof(T)));
}

}  // namespace wsss_fast::testing
