#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace wsss_fast {
namespace detail {

constexpr std::size_t kHugePage = std::size_t{1} << 21;

}  // namespace detail

// Asks the system to back memory that has not been touched yet with huge pages, as far as whole
// ones fit in: fewer page faults, and fewer misses of the address translation.
inline void advise_huge_pages(void* memory, std::size_t bytes) {
#if defined(__linux__)
    constexpr std::uintptr_t kPage = detail::kHugePage;
    const auto begin = (reinterpret_cast<std::uintptr_t>(memory) + kPage - 1) / kPage * kPage;
    const auto end = (reinterpret_cast<std::uintptr_t>(memory) + bytes) / kPage * kPage;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
    static_cast<void>(memory);
    static_cast<void>(bytes);
#endif
}

namespace detail {

inline void* allocate(std::size_t bytes) {
    const std::size_t align = bytes < 2 * kHugePage ? 64 : kHugePage;
    void* memory = std::aligned_alloc(align, (bytes + align - 1) / align * align);
    if (!memory) throw std::bad_alloc();
    advise_huge_pages(memory, bytes);
    return memory;
}

}  // namespace detail

// An array whose elements start unset and that keeps its memory when it is asked for less: scratch
// that is written before it is read, allocated once and used again.
template <typename T>
class Buffer {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    Buffer() = default;
    explicit Buffer(std::int64_t size) { resize(size); }

    // What was in it is lost when it has to grow.
    void resize(std::int64_t size) {
        if (size > capacity_) {
            release();  // before the new one is taken: the two need not be there together
            data_.reset(
                static_cast<T*>(detail::allocate(static_cast<std::size_t>(size) * sizeof(T))));
            capacity_ = size;
        }
        size_ = size;
    }

    void release() {
        data_.reset();
        size_ = capacity_ = 0;
    }

    T* data() { return data_.get(); }
    const T* data() const { return data_.get(); }
    std::int64_t size() const { return size_; }
    // Of the memory it holds.
    std::int64_t bytes() const { return capacity_ * static_cast<std::int64_t>(sizeof(T)); }
    T& operator[](std::int64_t i) { return data_.get()[i]; }
    const T& operator[](std::int64_t i) const { return data_.get()[i]; }

  private:
    struct Free {
        void operator()(T* memory) const { std::free(memory); }
    };
    std::unique_ptr<T, Free> data_;
    std::int64_t size_ = 0;
    std::int64_t capacity_ = 0;
};

}  // namespace wsss_fast
