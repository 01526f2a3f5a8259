#pragma once

#include <cstdint>
#include <type_traits>

#include "common/host_device.h"
#include "common/refuse.h"

namespace wsss_fast::cuda {

// A vertex with more points than this is splatted to by a whole block.
constexpr std::int64_t kLongEntries = 128;

struct alignas(8) Neighbours {
    std::int32_t before;  // rows, or -1 for none
    std::int32_t after;
};

// A corner of a point's simplex, and the other way round a point of a vertex: what a thread needs
// of either comes in one load.
template <typename T>
struct alignas(2 * sizeof(T)) Corner {
    T weight;          // barycentric
    std::int32_t row;  // of its vertex
};
template <typename T>
struct alignas(2 * sizeof(T)) Entry {
    T weight;
    std::int32_t point;
};

// A lattice's arrays inside its block of memory on the device. The block has no addresses in it,
// and its size says how many rows there are.
template <typename T>
struct LatticeView {
    int dims = 0;              // d
    std::int64_t images = 0;   // N
    std::int64_t points = 0;   // of all images
    std::int64_t rows = 0;     // for the vertices of all images, unused ones included
    std::int64_t entries = 0;  // points (d+1)

    Corner<T>* corner = nullptr;         // [points][d+1]
    Entry<T>* entry = nullptr;           // [entries] the same corners in the order of the rows
    std::int32_t* bad = nullptr;         // [images] not 0: no result can be had
    std::int32_t* used = nullptr;        // how many rows have a vertex: the first ones
    std::int32_t* long_count = nullptr;  // how many rows have more than kLongEntries entries
    std::int32_t* long_row = nullptr;    // [entries / kLongEntries] which
    std::int32_t* begin = nullptr;       // [rows] where a row's entries begin
    std::int32_t* end = nullptr;         // [rows] and end
    Neighbours* neighbours = nullptr;    // [d+1][rows] along each axis

    WSSS_FAST_HOST_DEVICE int corners() const { return dims + 1; }
};

namespace detail {

constexpr std::int64_t kWord = 8;  // blocks are tensors of int64

inline std::int64_t lattice_row_bytes(int dims) {
    return 2 * 4 + (dims + 1) * static_cast<std::int64_t>(sizeof(Neighbours));
}

template <typename T>
std::int64_t lattice_fixed_bytes(std::int64_t images, std::int64_t points, int dims) {
    const std::int64_t entries = points * (dims + 1);
    return entries * static_cast<std::int64_t>(sizeof(Corner<T>) + sizeof(Entry<T>)) +
           (images + 2 + entries / kLongEntries) * 4 + kWord;
}

}  // namespace detail

template <typename T>
std::int64_t lattice_block_bytes(std::int64_t images, std::int64_t points, int dims,
                                 std::int64_t rows) {
    const std::int64_t bytes = detail::lattice_fixed_bytes<T>(images, points, dims) +
                               rows * detail::lattice_row_bytes(dims);
    return (bytes + detail::kWord - 1) / detail::kWord * detail::kWord;
}

// points: of all images. Throws std::invalid_argument where the block's size is none of such a
// lattice.
template <typename T>
LatticeView<T> view_lattice(void* block, std::int64_t bytes, std::int64_t images,
                            std::int64_t points, int dims) {
    LatticeView<T> view;
    view.dims = dims;
    view.images = images;
    view.points = points;
    view.entries = points * (dims + 1);
    view.rows = (bytes - detail::lattice_fixed_bytes<T>(images, points, dims)) /
                detail::lattice_row_bytes(dims);
    if (view.rows < 0 || lattice_block_bytes<T>(images, points, dims, view.rows) != bytes) {
        refuse("lattice: expected one of ", images, " images with ", points,
               " points in all and d = ", dims, ", got ", bytes, " bytes");
    }
    char* at = static_cast<char*>(block);
    const auto take = [&](auto*& array, std::int64_t count) {
        array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(at);
        at += count * static_cast<std::int64_t>(sizeof(*array));
    };
    // Arrays of pairs, or that come in pairs of one length, first: all elements are then aligned.
    take(view.corner, view.entries);
    take(view.entry, view.entries);
    take(view.neighbours, view.rows * (dims + 1));
    take(view.begin, view.rows);
    take(view.end, view.rows);
    take(view.bad, images);
    take(view.used, 1);
    take(view.long_count, 1);
    take(view.long_row, view.entries / kLongEntries);
    return view;
}

}  // namespace wsss_fast::cuda
