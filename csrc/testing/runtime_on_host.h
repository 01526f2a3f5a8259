#pragma once

#include <cstddef>

// The part of the CUDA runtime that common/cuda/launch.h calls, for one device that is the host.

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidDevice = 101 };
using cudaStream_t = struct CUstream_st*;

cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaMemsetAsync(void* memory, int byte, std::size_t bytes, cudaStream_t stream);
const char* cudaGetErrorString(cudaError_t error);
