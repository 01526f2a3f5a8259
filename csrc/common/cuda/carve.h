#pragma once

#include <cstddef>
#include <cstdint>

#include "common/cuda/launch.h"

namespace wsss_fast::cuda {

// Cuts arrays from one block of memory, or, without a block, adds up how much they take. The same
// calls in the same order are made for both, so the sizes cannot disagree.
class Carve {
  public:
    static constexpr std::int64_t kAlign = 256;

    explicit Carve(void* block = nullptr) : block_(static_cast<char*>(block)) {}

    template <typename T>
    T* take(std::int64_t count) {
        const std::int64_t begin = bytes_;
        const std::int64_t size = count * static_cast<std::int64_t>(sizeof(T));
        // A gap behind each array even where it fills its last line: on the host it is guarded.
        bytes_ = (begin + size) / kAlign * kAlign + kAlign;
        if (!block_) return nullptr;
#if defined(WSSS_FAST_CUDA_ON_HOST)
        testing::unguard(block_ + begin, size);  // where another cut of this block had a gap
        testing::guard(block_ + begin + size, bytes_ - begin - size);
#endif
        mark_unset(block_ + begin, size);
        return reinterpret_cast<T*>(block_ + begin);
    }

    std::int64_t bytes() const { return bytes_; }

  private:
    char* block_;
    std::int64_t bytes_ = 0;
};

}  // namespace wsss_fast::cuda
