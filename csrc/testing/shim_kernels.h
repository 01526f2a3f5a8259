#pragma once

#include <cstdint>

// Kernels that are right or wrong in a known way: by them python_tests/cuda/test_cuda_on_host.py
// sees what running on the host notices. Counts are of elements; blocks have 64 threads.
namespace wsss_fast::testing {

// Turns each piece of 64 around, by way of a block's shared memory. Without the barrier it is
// wrong.
void shim_reverse(const std::int32_t* in, std::int32_t* out, std::int64_t count, bool barrier);

// Adds up each piece of 64 in shared memory, halving the threads step by step. Without the barrier
// between steps some orders of threads get it right.
void shim_tree_sum(const std::int32_t* in, std::int32_t* out, std::int64_t count, bool barrier);

// Writes i to out[i] for i in [0, written), after `count` elements are marked as unset.
void shim_write(std::int32_t* out, std::int64_t count, std::int64_t written);

// The same, to the first of two arrays of `count` that are cut from the workspace.
std::int64_t shim_carve_bytes(std::int64_t count);
void shim_write_carved(void* workspace, std::int64_t count, std::int64_t written);

// Writes element 64 of memory that has 64 for a block's threads.
void shim_write_past_shared(std::int32_t* out);

// Calls a million levels deep: more than a stack holds.
void shim_overflow_stack(std::int32_t* out);

// What every lane gets of its value by shuffles: out[0 .. 4 count) are the sums of its warp by
// __shfl_down_sync and __shfl_xor_sync, the sum of the lanes up to it in groups of eight by
// __shfl_up_sync, and the value of lane 3 of its group by __shfl_sync.
void shim_shuffles(const float* in, float* out, std::int64_t count);

// Which lanes of the warp have a value above 0, whether any has and all have.
void shim_votes(const std::int32_t* in, std::uint32_t* ballots, std::int32_t* any,
                std::int32_t* all, std::int64_t count);

// out: sum, least, greatest, or, and, how often atomicCAS put a value where none was, the value
// that atomicExch left last plus all that it gave back.
void shim_atomics(const std::int32_t* in, std::int32_t* out, std::int64_t count);

// out[i] = the sum over all blocks (of the grid, of a cluster of `cluster`) of in[i's place in its
// block]. Without the barrier it is wrong.
void shim_grid_sum(const std::int32_t* in, std::int32_t* between, std::int32_t* out,
                   std::int64_t count, bool barrier);
void shim_cluster_sum(const std::int32_t* in, std::int32_t* between, std::int32_t* out,
                      std::int64_t count, int cluster, bool barrier);

// common/cuda/device_wide.h. The sort tells whether the result lies in the other buffers.
bool shim_sort(std::uint64_t* keys, std::uint64_t* other_keys, std::uint32_t* numbers,
               std::uint32_t* other_numbers, std::int64_t count, int bits, void* scratch,
               std::int64_t scratch_bytes);
void shim_running_sum(std::int32_t* values, std::int64_t count, void* scratch,
                      std::int64_t scratch_bytes);

// Threads that wait for each other and do not meet.
enum class Divergence {
    kReturnBeforeBarrier,  // thread 0 returns, the others wait at __syncthreads
    kReturnBeforeLanes,    // the same at __syncwarp
    kBarrierAndLanes,      // thread 0 at __syncwarp, the others at __syncthreads
    kBarrierAndGrid,       // thread 0 at a grid barrier, the others at __syncthreads
    kMasks,                // thread 0 names other lanes than they do
    kKinds,                // thread 0 votes, the others shuffle
    kNotInMask,            // thread 0 does not name itself
    kBeyondBlock,          // lanes are named that the block does not have
    kCircle,               // of three lanes each waits for the next one only
    kGridNotTogether,      // a grid barrier in a launch of another shape
};
void shim_diverge(Divergence how, std::int32_t* out);

}  // namespace wsss_fast::testing
