#include "common/cuda/barriers.h"
#include "common/cuda/carve.h"
#include "common/cuda/device_wide.h"
#include "common/cuda/launch.h"
#include "testing/shim_kernels.h"

namespace wsss_fast::testing {
namespace {

using cuda::block_shared;
using cuda::Place;
using cuda::Shape;
using cuda::thread_number;
using cuda::Together;

constexpr int kBlock = 64;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;

Shape shape_of(std::int64_t count, Together together = Together::kBlock, int cluster = 1) {
    return {(count + kBlock - 1) / kBlock, kBlock, together, cluster};
}

struct Piece {
    std::int32_t values[kBlock];
};

__global__ void reverse(const std::int32_t* in, std::int32_t* out, bool barrier) {
    Piece& piece = block_shared<Piece>();
    piece.values[threadIdx.x] = in[thread_number()];
    if (barrier) __syncthreads();
    out[thread_number()] = piece.values[kBlock - 1 - threadIdx.x];
}

__global__ void tree_sum(const std::int32_t* in, std::int32_t* out, bool barrier) {
    Piece& piece = block_shared<Piece>();
    piece.values[threadIdx.x] = in[thread_number()];
    __syncthreads();
    for (unsigned half = kBlock / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) piece.values[threadIdx.x] += piece.values[threadIdx.x + half];
        if (barrier) __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = piece.values[0];
}

__global__ void write(std::int32_t* out, std::int64_t written) {
    const std::int64_t i = thread_number();
    if (i < written) out[i] = static_cast<std::int32_t>(i);
}

__global__ void write_past_shared(std::int32_t* out) {
    Piece& piece = block_shared<Piece>();
    piece.values[0] = 0;
    std::int32_t* const values = piece.values;
    // A pointer, or the compiler of the host sees the end of the array.
    values[threadIdx.x + 1] = 1;
    *out = values[0];
}

__device__ std::int32_t deeper(std::int32_t* levels, std::int32_t n) {
    volatile std::int32_t here[64];
    here[n % 64] = n;
    *levels = n;
    if (n == 0) return 0;
    return deeper(levels, n - 1) + here[n % 64];
}

__global__ void overflow_stack(std::int32_t* out) { *out = deeper(out, 1 << 20); }

__global__ void shuffles(const float* in, float* out, std::int64_t count) {
    const std::int64_t i = thread_number();
    const float value = in[i];
    float down = value;
    for (unsigned delta = 16; delta > 0; delta /= 2) {
        down += __shfl_down_sync(kAllLanes, down, delta);
    }
    float all = value;
    for (int bit = 16; bit > 0; bit /= 2) all += __shfl_xor_sync(kAllLanes, all, bit);
    float up = value;
    for (unsigned delta = 1; delta < 8; delta *= 2) {
        const float before = __shfl_up_sync(kAllLanes, up, delta, 8);
        if (threadIdx.x % 8 >= delta) up += before;
    }
    out[i] = __shfl_sync(kAllLanes, down, 0);
    out[count + i] = all;
    out[2 * count + i] = up;
    out[3 * count + i] = __shfl_sync(kAllLanes, value, 3, 8);
}

__global__ void votes(const std::int32_t* in, std::uint32_t* ballots, std::int32_t* any,
                      std::int32_t* all) {
    const std::int64_t i = thread_number();
    ballots[i] = __ballot_sync(kAllLanes, in[i] > 0);
    any[i] = __any_sync(kAllLanes, in[i] > 0);
    all[i] = __all_sync(kAllLanes, in[i] > 0);
}

__global__ void atomics(const std::int32_t* in, std::int32_t* out, std::int64_t count) {
    const std::int64_t i = thread_number();
    if (i >= count) return;
    atomicAdd(&out[0], in[i]);
    atomicMin(&out[1], in[i]);
    atomicMax(&out[2], in[i]);
    auto* const bits = reinterpret_cast<unsigned*>(out);
    atomicOr(&bits[3], static_cast<unsigned>(in[i]));
    atomicAnd(&bits[4], static_cast<unsigned>(in[i]));
    if (atomicCAS(&out[7], -1, in[i]) == -1) atomicAdd(&out[5], 1);
    atomicAdd(&out[6], atomicExch(&out[8], in[i]));
}

template <typename Barrier>
__device__ void sum_over_blocks(const std::int32_t* in, std::int32_t* between, std::int32_t* out,
                                std::int64_t first_block, std::int64_t blocks, Barrier barrier) {
    between[thread_number()] = in[thread_number()];
    barrier();
    std::int32_t sum = 0;
    for (std::int64_t block = first_block; block < first_block + blocks; ++block) {
        sum += between[block * blockDim.x + threadIdx.x];
    }
    out[thread_number()] = sum;
}

__global__ void grid_sum(const std::int32_t* in, std::int32_t* between, std::int32_t* out,
                         bool barrier) {
    sum_over_blocks(in, between, out, 0, gridDim.x, [barrier] {
        if (barrier) cuda::grid_barrier();
    });
}

__global__ void cluster_sum(const std::int32_t* in, std::int32_t* between, std::int32_t* out,
                            int cluster, bool barrier) {
    const std::int64_t first = std::int64_t{blockIdx.x} / cluster * cluster;
    sum_over_blocks(in, between, out, first, cluster, [barrier] {
        if (barrier) cuda::cluster_barrier();
    });
}

__global__ void diverge(Divergence how, std::int32_t* out) {
    const bool first = threadIdx.x == 0;
    const unsigned lane = threadIdx.x % 32;
    switch (how) {
        case Divergence::kReturnBeforeBarrier:
            if (first) return;
            __syncthreads();
            break;
        case Divergence::kReturnBeforeLanes:
            if (first) return;
            __syncwarp();
            break;
        case Divergence::kBarrierAndLanes:
            if (first) {
                __syncwarp();
            } else {
                __syncthreads();
            }
            break;
        case Divergence::kBarrierAndGrid:
            if (first) {
                cuda::grid_barrier();
            } else {
                __syncthreads();
            }
            break;
        case Divergence::kMasks:
            __syncwarp(first ? 0xFFFFu : kAllLanes);
            break;
        case Divergence::kKinds:
            *out = first ? __any_sync(kAllLanes, 1) : __shfl_sync(kAllLanes, 1, 0);
            break;
        case Divergence::kNotInMask:
            __syncwarp(~1u);
            break;
        case Divergence::kBeyondBlock:
            if (threadIdx.x >= 32) __syncwarp(kAllLanes);
            break;
        case Divergence::kCircle:
            if (threadIdx.x < 3) __syncwarp(1u << lane | 1u << (lane + 1) % 3);
            break;
        case Divergence::kGridNotTogether:
            cuda::grid_barrier();
            break;
    }
    *out = 1;
}

}  // namespace

void shim_reverse(const std::int32_t* in, std::int32_t* out, std::int64_t count, bool barrier) {
    cuda::launch(reverse, shape_of(count), Place{}, in, out, barrier);
}

void shim_tree_sum(const std::int32_t* in, std::int32_t* out, std::int64_t count, bool barrier) {
    cuda::launch(tree_sum, shape_of(count), Place{}, in, out, barrier);
}

void shim_write(std::int32_t* out, std::int64_t count, std::int64_t written) {
    cuda::mark_unset(out, count * static_cast<std::int64_t>(sizeof *out));
    cuda::launch(write, shape_of(written), Place{}, out, written);
}

std::int64_t shim_carve_bytes(std::int64_t count) {
    cuda::Carve carve;
    carve.take<std::int32_t>(count);
    carve.take<std::int32_t>(count);
    return carve.bytes();
}

void shim_write_carved(void* workspace, std::int64_t count, std::int64_t written) {
    cuda::Carve carve(workspace);
    auto* const first = carve.take<std::int32_t>(count);
    carve.take<std::int32_t>(count);
    shim_write(first, count, written);
}

void shim_write_past_shared(std::int32_t* out) {
    cuda::launch(write_past_shared, Shape{1, kBlock}, Place{}, out);
}

void shim_overflow_stack(std::int32_t* out) {
    cuda::launch(overflow_stack, Shape{1, 1}, Place{}, out);
}

void shim_shuffles(const float* in, float* out, std::int64_t count) {
    cuda::launch(shuffles, shape_of(count), Place{}, in, out, count);
}

void shim_votes(const std::int32_t* in, std::uint32_t* ballots, std::int32_t* any,
                std::int32_t* all, std::int64_t count) {
    cuda::launch(votes, shape_of(count), Place{}, in, ballots, any, all);
}

void shim_atomics(const std::int32_t* in, std::int32_t* out, std::int64_t count) {
    cuda::launch(atomics, shape_of(count), Place{}, in, out, count);
}

void shim_grid_sum(const std::int32_t* in, std::int32_t* between, std::int32_t* out,
                   std::int64_t count, bool barrier) {
    cuda::launch(grid_sum, shape_of(count, Together::kGrid), Place{}, in, between, out, barrier);
}

void shim_cluster_sum(const std::int32_t* in, std::int32_t* between, std::int32_t* out,
                      std::int64_t count, int cluster, bool barrier) {
    cuda::launch(cluster_sum, shape_of(count, Together::kCluster, cluster), Place{}, in, between,
                 out, cluster, barrier);
}

bool shim_sort(std::uint64_t* keys, std::uint64_t* other_keys, std::uint32_t* numbers,
               std::uint32_t* other_numbers, std::int64_t count, int bits, void* scratch,
               std::int64_t scratch_bytes) {
    cuda::SortedPairs pairs{keys, other_keys, numbers, other_numbers};
    cuda::sort_pairs(pairs, count, bits, scratch, scratch_bytes, Place{});
    return pairs.keys != keys;
}

void shim_running_sum(std::int32_t* values, std::int64_t count, void* scratch,
                      std::int64_t scratch_bytes) {
    cuda::running_sum(values, count, scratch, scratch_bytes, Place{});
}

void shim_diverge(Divergence how, std::int32_t* out) {
    Shape shape{1, kBlock};
    if (how == Divergence::kBarrierAndGrid) shape.together = Together::kGrid;
    if (how == Divergence::kBeyondBlock) shape.threads = 40;
    cuda::launch(diverge, shape, Place{}, how, out);
}

}  // namespace wsss_fast::testing
