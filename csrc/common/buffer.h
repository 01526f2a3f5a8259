#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace wsss_fast {

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
            data_.reset();  // before the new one is taken: the two need not be there together
            data_.reset(new T[static_cast<std::size_t>(size)]);
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
    T& operator[](std::int64_t i) { return data_[static_cast<std::size_t>(i)]; }
    const T& operator[](std::int64_t i) const { return data_[static_cast<std::size_t>(i)]; }

  private:
    std::unique_ptr<T[]> data_;
    std::int64_t size_ = 0;
    std::int64_t capacity_ = 0;
};

}  // namespace wsss_fast
