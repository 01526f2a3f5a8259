#pragma once

#include "common/cuda/launch.h"

#if !defined(WSSS_FAST_CUDA_ON_HOST)
#include <cooperative_groups.h>
#endif

// Barriers beyond a block, for kernels that are launched with a Shape that says so.
namespace wsss_fast::cuda {

// For the threads of all blocks, under Together::kGrid.
inline __device__ void grid_barrier() {
#if defined(WSSS_FAST_CUDA_ON_HOST)
    testing::meet(testing::Meeting::kGridBarrier);
#else
    cooperative_groups::this_grid().sync();
#endif
}

// For the threads of all blocks of a cluster, under Together::kCluster. Devices before sm_90 have
// no clusters: they refuse the launch.
inline __device__ void cluster_barrier() {
#if defined(WSSS_FAST_CUDA_ON_HOST)
    testing::meet(testing::Meeting::kClusterBarrier);
#elif __CUDA_ARCH__ >= 900
    cooperative_groups::this_cluster().sync();
#else
    __trap();
#endif
}

}  // namespace wsss_fast::cuda
