#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include "common/buffer.h"
#include "common/parallel.h"
#include "ops/cpu/lattice_isa.h"

namespace wsss_fast {

// The position of a lattice vertex as `Words` 64-bit integers. Every coordinate has a word and a
// stride in it (mixed radix), so stepping along a coordinate is one addition, and two vertices
// inside the ranges that KeyLayout was made for have equal keys only if they are one. One word is
// enough for all ordinary images; more are for many dimensions or wide ranges.
template <int Words>
struct VertexKey {
    std::uint64_t word[Words];  // nothing else: keys of one word are copied as plain words

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
    VertexKey<Words> origin{};  // to be taken off, so that the lowest corner has key 0
    VertexKey<Words> all{};     // a step of one along every coordinate

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

using Probe = void (*)(const ProbedTable&, const std::uint64_t* key, const std::uint64_t* hash,
                       std::int32_t* found);

// Finds the number of a key in an array of keys that somebody else holds: open addressing, linear
// probing, at most half full. A slot holds as much of the hash beside the number as there is room
// for in 32 bits, so that other keys are told apart without a look at the array.
template <int Words>
class VertexTable {
  public:
    using Key = VertexKey<Words>;

    // Empty, with room for `most` keys, or more, and slots four times as many.
    void reset(std::int64_t most, const Execution& execution) {
        int bits = 8;
        while ((std::int64_t{1} << bits) < 4 * most) ++bits;
        slots_.resize(std::int64_t{1} << bits);
        // A piece at a time: for a large table the system has to find a gigabyte here.
        parallel_for(execution, std::int64_t{1} << bits, std::int64_t{1} << 20,
                     [&](std::int64_t begin, std::int64_t end) {
                         std::fill(slots_.data() + begin, slots_.data() + end, std::uint32_t{0});
                     });
        mask_ = (std::uint64_t{1} << bits) - 1;
        shift_ = 64 - bits;
        tag_mask_ = ~(static_cast<std::uint32_t>(mask_ >> 1));  // the rest holds a number plus one
    }

    // How many keys keep it at most half full.
    std::int64_t room() const { return static_cast<std::int64_t>(mask_ >> 1); }

    // The number of the key, or -1.
    std::int32_t find(const Key& key, std::uint64_t hash, const Key* keys) const {
        for (std::uint64_t at = hash >> shift_;; at = (at + 1) & mask_) {
            const std::uint32_t slot = slots_[static_cast<std::int64_t>(at)];
            if (slot == 0) return -1;
            if (tagged(slot, hash) && keys[number(slot)] == key) return number(slot);
        }
    }

    // The number of the key; `fresh`, which it then has, if it is not there.
    std::int32_t find_or_insert(const Key& key, std::uint64_t hash, const Key* keys,
                                std::int32_t fresh) {
        for (std::uint64_t at = hash >> shift_;; at = (at + 1) & mask_) {
            std::uint32_t& slot = slots_[static_cast<std::int64_t>(at)];
            if (slot == 0) {
                slot = tag(hash) | (static_cast<std::uint32_t>(fresh) + 1);
                return fresh;
            }
            if (tagged(slot, hash) && keys[number(slot)] == key) return number(slot);
        }
    }

    void prefetch(std::uint64_t hash) const {
#if defined(__GNUC__)
        __builtin_prefetch(slots_.data() + (hash >> shift_));
#endif
    }

    // found = a number, kAbsent or kUndecided for each of kTilePoints keys.
    void look(const Key* key, const std::uint64_t* hash, const Key* keys, const Probe& probe,
              std::int32_t* found) const {
        if constexpr (Words == 1) {
            const ProbedTable table{slots_.data(), &keys->word[0], tag_mask_, shift_};
            probe(table, &key->word[0], hash, found);
        } else {
            std::fill(found, found + kTilePoints, kUndecided);
        }
    }

  private:
    // The lower bits, as the upper ones choose the slot.
    std::uint32_t tag(std::uint64_t hash) const {
        return static_cast<std::uint32_t>(hash) & tag_mask_;
    }
    bool tagged(std::uint32_t slot, std::uint64_t hash) const {
        return ((slot ^ static_cast<std::uint32_t>(hash)) & tag_mask_) == 0;
    }
    std::int32_t number(std::uint32_t slot) const {
        return static_cast<std::int32_t>((slot & ~tag_mask_) - 1);
    }

    Buffer<std::uint32_t> slots_;
    std::uint64_t mask_ = 0;
    std::uint32_t tag_mask_ = 0;
    int shift_ = 0;
};

// Numbers keys in the order in which they first come, and holds them.
template <int Words>
class VertexNumbers {
  public:
    using Key = VertexKey<Words>;

    // clear() it before its first use.
    explicit VertexNumbers(std::int64_t expected) : expected_(expected) {}

    void clear() {
        size_ = 0;
        table_.reset(expected_, kAlone);
        keys_.resize(table_.room());
        keys_[0] = {};  // is looked at before it is there
    }

    // The numbers of the first `count` of kTilePoints keys.
    void find_or_insert(const Key* key, std::int64_t count, const Probe& probe,
                        std::int32_t* numbers) {
        std::uint64_t hash[kTilePoints];
        for (int i = 0; i < kTilePoints; ++i) hash[i] = key[i].hash();
        table_.look(key, hash, keys_.data(), probe, numbers);
        // Listed first: which are open cannot be guessed.
        std::int32_t open[kTilePoints];
        std::int64_t opened = 0;
        for (std::int64_t i = 0; i < count; ++i) {
            open[opened] = static_cast<std::int32_t>(i);
            opened += numbers[i] < 0 ? 1 : 0;
        }
        for (std::int64_t i = 0; i < opened; ++i)
            numbers[open[i]] = find_or_insert(key[open[i]], hash[open[i]]);
    }

    std::int64_t size() const { return size_; }
    // A copy of the keys, by number.
    Buffer<Key> keys() const {
        Buffer<Key> copy(size_);
        std::copy(keys_.data(), keys_.data() + size_, copy.data());
        return copy;
    }

  private:
    std::int32_t find_or_insert(const Key& key, std::uint64_t hash) {
        const auto fresh = static_cast<std::int32_t>(size_);
        const std::int32_t found = table_.find_or_insert(key, hash, keys_.data(), fresh);
        if (found == fresh) {
            keys_[size_++] = key;
            if (size_ == table_.room()) grow();
        }
        return found;
    }

    void grow() {
        Buffer<Key> old = std::move(keys_);
        table_.reset(size_, kAlone);
        keys_ = Buffer<Key>(table_.room());
        std::memcpy(keys_.data(), old.data(), static_cast<std::size_t>(size_) * sizeof(Key));
        for (std::int64_t i = 0; i < size_; ++i) {
            table_.find_or_insert(keys_[i], keys_[i].hash(), keys_.data(),
                                  static_cast<std::int32_t>(i));
        }
    }

    static constexpr Execution kAlone{};  // a band has one thread

    std::int64_t expected_;
    VertexTable<Words> table_;
    Buffer<Key> keys_;
    std::int64_t size_ = 0;
};

}  // namespace wsss_fast
