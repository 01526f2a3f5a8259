#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

namespace wsss_fast {

// The position of a lattice vertex as `Words` 64-bit integers. Every coordinate has a word and a
// stride in it (mixed radix), so stepping along a coordinate is one addition, and two vertices
// inside the ranges that KeyLayout was made for have equal keys only if they are one. One word is
// enough for all ordinary images; more are for many dimensions or wide ranges.
template <int Words>
struct VertexKey {
    std::array<std::uint64_t, Words> word{};

    VertexKey& operator+=(const VertexKey& other) {
        for (int w = 0; w < Words; ++w) word[w] += other.word[w];
        return *this;
    }
    VertexKey& operator-=(const VertexKey& other) {
        for (int w = 0; w < Words; ++w) word[w] -= other.word[w];
        return *this;
    }
    void add(const VertexKey& stride, std::int64_t times) {
        for (int w = 0; w < Words; ++w)
            word[w] += stride.word[w] * static_cast<std::uint64_t>(times);
    }
    bool operator==(const VertexKey& other) const {
        for (int w = 0; w < Words; ++w) {
            if (word[w] != other.word[w]) return false;
        }
        return true;
    }
    // The upper bits are the well-mixed ones.
    std::uint64_t hash() const {
        std::uint64_t h = word[0] * kMix;
        for (int w = 1; w < Words; ++w) h = ((h ^ (h >> 29)) + word[w]) * kMix;
        return h;
    }

  private:
    static constexpr std::uint64_t kMix = 0x9E3779B97F4A7C15u;  // 2^64 / golden ratio
};

// How many 64-bit words the coordinates [low, high] of d dimensions need.
inline int words_needed(int dims, const std::int64_t* low, const std::int64_t* high) {
    int words = 1;
    std::uint64_t filled = 1;
    for (int i = 0; i < dims; ++i) {
        const auto size = static_cast<std::uint64_t>(high[i] - low[i]) + 1;
        if (filled > std::numeric_limits<std::uint64_t>::max() / size) {
            ++words;
            filled = 1;
        }
        filled *= size;
    }
    return words;
}

template <int Words>
struct KeyLayout {
    // For coordinates 0..d; the last one follows from the others (they sum to zero) and has stride
    // 0.
    std::array<VertexKey<Words>, 17> stride{};
    VertexKey<Words> origin;  // to be taken off, so that the lowest corner has key 0
    VertexKey<Words> all;     // a step of one along every coordinate

    KeyLayout(int dims, const std::int64_t* low, const std::int64_t* high) {
        int w = 0;
        std::uint64_t filled = 1;
        for (int i = 0; i < dims; ++i) {
            const auto size = static_cast<std::uint64_t>(high[i] - low[i]) + 1;
            if (filled > std::numeric_limits<std::uint64_t>::max() / size) {
                ++w;
                filled = 1;
            }
            stride[i].word[w] = filled;
            filled *= size;
            origin.add(stride[i], low[i]);
            all += stride[i];
        }
    }
};

// Numbers keys in the order in which they first come: open addressing, linear probing, at most half
// full.
template <int Words>
class VertexTable {
  public:
    using Key = VertexKey<Words>;

    explicit VertexTable(std::int64_t expected = 0) {
        int bits = 8;
        while ((std::int64_t{1} << bits) < 2 * expected) ++bits;
        reset(bits);
    }

    std::int32_t find_or_insert(const Key& key) {
        std::uint64_t slot = key.hash() >> shift_;
        while (slots_[slot].id >= 0) {
            if (slots_[slot].key == key) return slots_[slot].id;
            slot = (slot + 1) & mask_;
        }
        const auto id = static_cast<std::int32_t>(keys_.size());
        slots_[slot] = {key, id};
        keys_.push_back(key);
        if (2 * keys_.size() > slots_.size()) grow();
        return id;
    }

    // Negative if the key is not there.
    std::int32_t find(const Key& key) const {
        std::uint64_t slot = key.hash() >> shift_;
        while (slots_[slot].id >= 0) {
            if (slots_[slot].key == key) return slots_[slot].id;
            slot = (slot + 1) & mask_;
        }
        return -1;
    }

    const std::vector<Key>& keys() const { return keys_; }
    std::int64_t size() const { return static_cast<std::int64_t>(keys_.size()); }

    // Keeps the keys only: no more look-ups.
    void drop_slots() { std::vector<Slot>().swap(slots_); }
    void drop() {
        drop_slots();
        std::vector<Key>().swap(keys_);
    }

  private:
    struct Slot {
        Key key{};
        std::int32_t id = -1;
    };

    void reset(int bits) {
        std::vector<Slot>().swap(slots_);
        slots_.resize(std::size_t{1} << bits);
        mask_ = slots_.size() - 1;
        shift_ = 64 - bits;
    }

    void grow() {
        reset(64 - shift_ + 1);
        for (std::size_t id = 0; id < keys_.size(); ++id) {
            std::uint64_t slot = keys_[id].hash() >> shift_;
            while (slots_[slot].id >= 0) slot = (slot + 1) & mask_;
            slots_[slot] = {keys_[id], static_cast<std::int32_t>(id)};
        }
    }

    std::vector<Slot> slots_;
    std::vector<Key> keys_;
    std::uint64_t mask_ = 0;
    int shift_ = 0;
};

}  // namespace wsss_fast
