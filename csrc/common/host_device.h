#pragma once

// For functions that the CPU's code and the CUDA kernels share.
#if defined(__CUDACC__)
#define WSSS_FAST_HOST_DEVICE __host__ __device__
#else
#define WSSS_FAST_HOST_DEVICE
#endif
