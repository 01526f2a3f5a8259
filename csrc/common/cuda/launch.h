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
#include <utility>

#include "common/cuda/place.h"
#include "common/cuda/shape.h"

// The only way to the device: kernels are launched, memory is filled and devices are chosen here,
// so that the same sources also run on the host (csrc/testing).
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

inline void check_shape(const Shape& shape) {
    const auto refuse = [](const char* what, std::int64_t got) {
        throw Error(std::string("CUDA: a launch of ") + what + ", got " + std::to_string(got));
    };
    if (shape.blocks > INT32_MAX) refuse("at most 2^31 - 1 blocks", shape.blocks);
    if (shape.threads < 1 || shape.threads > 1024) refuse("1 to 1024 threads", shape.threads);
    if (shape.shared_bytes > 48 << 10) refuse("at most 48 KB of an array", shape.shared_bytes);
    if (shape.together != Together::kCluster) return;
    if (shape.cluster < 1 || shape.cluster > 8) refuse("clusters of 1 to 8", shape.cluster);
    if (shape.blocks % shape.cluster != 0) refuse("whole clusters of blocks", shape.blocks);
}

// Runs kernel(args...) on the place's stream, whichever device is the current one. No blocks are no
// launch.
template <typename... Parameters, typename... Args>
void launch(void (*kernel)(Parameters...), const Shape& shape, const Place& place, Args&&... args) {
    if (shape.blocks == 0) return;
    check_shape(shape);
    const OnDevice on_device(place);
#if defined(WSSS_FAST_CUDA_ON_HOST)
    testing::launch<Parameters...>(kernel, shape, std::forward<Args>(args)...);
#else
    cudaLaunchAttribute attribute{};
    if (shape.together == Together::kGrid) {
        attribute.id = cudaLaunchAttributeCooperative;
        attribute.val.cooperative = 1;
    } else {
        attribute.id = cudaLaunchAttributeClusterDimension;
        attribute.val.clusterDim = {static_cast<unsigned>(shape.cluster), 1, 1};
    }
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
    config.blockDim = dim3(static_cast<unsigned>(shape.threads));
    config.dynamicSmemBytes = static_cast<std::size_t>(shape.shared_bytes);
    config.stream = stream_of(place);
    config.attrs = &attribute;
    config.numAttrs = shape.together == Together::kBlock ? 0 : 1;
    [&](Parameters... values) {
        // The last one is there for kernels without parameters: no array is empty.
        void* addresses[] = {&values..., nullptr};
        check(cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), addresses),
              "launching a kernel");
    }(std::forward<Args>(args)...);
#endif
}

inline void fill_bytes(void* memory, int byte, std::int64_t bytes, const Place& place) {
    if (bytes == 0) return;
    const OnDevice on_device(place);
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

// `count` of T for all threads of a block, unset when the kernel starts: the launch's shape has
// their bytes.
template <typename T>
__device__ T* block_shared_array([[maybe_unused]] std::int64_t count) {
#if defined(WSSS_FAST_CUDA_ON_HOST)
    return testing::block_shared_array<T>(count);
#else
    extern __shared__ uint4 array[];
    return reinterpret_cast<T*>(array);
#endif
}

#endif

}  // namespace wsss_fast::cuda
