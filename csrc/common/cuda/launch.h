#pragma once

#if defined(WSSS_FAST_CUDA_ON_HOST)
#include "testing/cuda_on_host.h"
#else
#include <cuda_runtime.h>
#endif

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "common/cuda/place.h"

// The only way to the device: kernels are launched, memory is filled and devices are chosen here, so
// that the same sources also run on the host (csrc/testing).
namespace wsss_fast::cuda {

// A call that the CUDA runtime refused. What a kernel does wrong shows at a later call.
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    throw Error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

// Makes the place's device the current one of this thread, and the one before it again at the end.
class OnDevice {
  public:
    explicit OnDevice(const Place& place) {
        check(cudaGetDevice(&before_), "asking for the current device");
        if (before_ != place.device) check(cudaSetDevice(place.device), "choosing a device");
        moved_ = before_ != place.device;
    }
    ~OnDevice() {
        if (moved_) static_cast<void>(cudaSetDevice(before_));
    }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

  private:
    int before_ = 0;
    bool moved_ = false;
};

inline cudaStream_t stream_of(const Place& place) {
    return static_cast<cudaStream_t>(place.stream);
}

constexpr int kThreads = 256;  // of a block, where nothing speaks for another number

// A block's threads meet at its barriers, blocks do not.
struct Shape {
    std::int64_t blocks;
    int threads = kThreads;
};

// As many blocks as it takes for a thread each.
inline Shape for_each(std::int64_t count) { return {(count + kThreads - 1) / kThreads}; }

// Runs kernel(args...) on the place's stream. No blocks are no launch.
template <typename... Parameters, typename... Args>
void launch(void (*kernel)(Parameters...), const Shape& shape, const Place& place, Args&&... args) {
    if (shape.blocks == 0) return;
    if (shape.blocks > INT32_MAX) throw Error("CUDA: a launch of more than 2^31 blocks");
#if defined(WSSS_FAST_CUDA_ON_HOST)
    testing::launch(kernel, shape.blocks, shape.threads, Parameters(args)...);
#else
    const dim3 blocks(static_cast<unsigned>(shape.blocks));
    const dim3 threads(static_cast<unsigned>(shape.threads));
    kernel<<<blocks, threads, 0, stream_of(place)>>>(Parameters(args)...);
    check(cudaGetLastError(), "launching a kernel");
#endif
}

inline void fill_bytes(void* memory, int byte, std::int64_t bytes, const Place& place) {
    if (bytes == 0) return;
    check(cudaMemsetAsync(memory, byte, static_cast<std::size_t>(bytes), stream_of(place)),
          "filling memory");
}

// Memory that a kernel is about to write, all of it. On the host it is filled with ones, NaN as a
// number and -1 as an integer, so that what stays unwritten is seen; on a device nothing is done.
inline void mark_unset([[maybe_unused]] void* memory, [[maybe_unused]] std::int64_t bytes) {
#if defined(WSSS_FAST_CUDA_ON_HOST)
    testing::mark_unset(memory, bytes);
#endif
}

#if defined(__CUDACC__) || defined(WSSS_FAST_CUDA_ON_HOST)

// The number of this thread among all of the launch.
inline __device__ std::int64_t thread_number() {
    return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}

// One T for all threads of a block, unset when the kernel starts.
template <typename T>
__device__ T& block_shared() {
#if defined(WSSS_FAST_CUDA_ON_HOST)
    return testing::block_shared<T>();
#else
    __shared__ T shared;
    return shared;
#endif
}

#endif

}  // namespace wsss_fast::cuda
