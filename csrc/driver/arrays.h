#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <type_traits>

// Arrays that inputs, outputs and workspaces lie in.
namespace wsss_fast::driver {

// Of exactly so many elements, and unset: tools see what reads or writes beyond them, or reads what
// nobody wrote. Aligned as workspaces have to be.
template <typename T>
class Array {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    explicit Array(std::int64_t size) : size_(size) {
        void* memory = nullptr;
        if (posix_memalign(&memory, 64, static_cast<std::size_t>(size) * sizeof(T)) != 0) {
            throw std::bad_alloc();
        }
        data_.reset(static_cast<T*>(memory));
    }
    Array(std::int64_t size, T value) : Array(size) {
        for (std::int64_t i = 0; i < size; ++i) data_.get()[i] = value;
    }

    // `const` as the pointer of an input is: what a case holds is read by several threads at once.
    T* data() { return data_.get(); }
    const T* data() const { return data_.get(); }
    std::int64_t size() const { return size_; }
    T& operator[](std::int64_t i) { return data_.get()[i]; }
    const T& operator[](std::int64_t i) const { return data_.get()[i]; }
    T* begin() { return data(); }
    T* end() { return data() + size_; }
    const T* begin() const { return data(); }
    const T* end() const { return data() + size_; }

  private:
    struct Free {
        void operator()(T* memory) const { std::free(memory); }
    };
    std::unique_ptr<T, Free> data_;
    std::int64_t size_;
};

// What an op gave, to be compared to the bit.
using Bytes = std::string;

template <typename T>
void append(Bytes& bytes, const Array<T>& array) {
    bytes.append(reinterpret_cast<const char*>(array.data()),
                 static_cast<std::size_t>(array.size()) * sizeof(T));
}
template <typename T>
Bytes bytes_of(const Array<T>& array) {
    Bytes bytes;
    append(bytes, array);
    return bytes;
}

// Made-up numbers (the generator is SplitMix64, Steele, Lea and Flood, OOPSLA 2014): the same on
// every machine, which those of the standard library's distributions are not.
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    // In [low, high).
    double between(double low, double high) {
        return low + (high - low) * static_cast<double>(next() >> 11) * 0x1p-53;
    }
    template <typename T>
    Array<T> array(std::int64_t size, double low, double high) {
        Array<T> result(size);
        for (T& value : result) value = static_cast<T>(between(low, high));
        return result;
    }

  private:
    std::uint64_t next() {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    std::uint64_t state_;
};

}  // namespace wsss_fast::driver
