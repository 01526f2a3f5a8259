#include <cstring>

#include "common/refuse.h"
#include "ops/lattice.h"

namespace wsss_fast {
namespace {

constexpr std::int64_t kMark = 0x7773'7366'6c61'7402;  // "wssflat", layout 2

struct Header {
    std::int64_t mark;
    std::int64_t value_bytes;
    std::int64_t dims;
    std::int64_t points;
    std::int64_t rows;
    std::int64_t ghosts;
    std::int64_t chain_size[kMaxLatticeCorners];
    std::int64_t pieces[kMaxLatticeCorners];
};

// Visits every array of a lattice in the order in which they lie in the block:
// each(array, elements), the array a reference to the view's pointer.
template <typename View, typename Each>
void each_array(View& lattice, Each&& each) {
    const std::int64_t entries = lattice.points * lattice.corners();
    each(lattice.offset, entries);
    each(lattice.weight, entries);
    each(lattice.ghost, lattice.ghosts);
    each(lattice.owner, lattice.ghosts);
    each(lattice.fresh, lattice.tiles());
    for (int axis = 0; axis < lattice.corners(); ++axis) {
        each(lattice.chain[axis], lattice.chain_size[axis]);
        each(lattice.piece[axis], lattice.pieces[axis]);
    }
}

// Arrays start at multiples of 8 bytes.
template <typename V>
std::int64_t padded_bytes(const V*, std::int64_t elements) {
    return (elements * static_cast<std::int64_t>(sizeof(V)) + 7) / 8 * 8;
}

template <typename T>
std::int64_t block_bytes(const LatticeView<T>& lattice) {
    std::int64_t bytes = sizeof(Header);
    each_array(lattice, [&](const auto* array, std::int64_t elements) {
        bytes += padded_bytes(array, elements);
    });
    return bytes;
}

}  // namespace

template <typename T>
std::int64_t lattice_packed_bytes(const LatticeView<T>& lattice) {
    return block_bytes(lattice);
}

template <typename T>
void lattice_pack(const LatticeView<T>& lattice, void* block) {
    Header header{};
    header.mark = kMark;
    header.value_bytes = sizeof(T);
    header.dims = lattice.dims;
    header.points = lattice.points;
    header.rows = lattice.rows;
    header.ghosts = lattice.ghosts;
    std::memcpy(header.chain_size, lattice.chain_size, sizeof header.chain_size);
    std::memcpy(header.pieces, lattice.pieces, sizeof header.pieces);
    std::memset(block, 0, static_cast<std::size_t>(block_bytes(lattice)));
    auto* to = static_cast<char*>(block);
    std::memcpy(to, &header, sizeof header);
    to += sizeof header;
    each_array(lattice, [&](const auto* array, std::int64_t elements) {
        if (elements > 0)
            std::memcpy(to, array, static_cast<std::size_t>(elements) * sizeof(*array));
        to += padded_bytes(array, elements);
    });
}

template <typename T>
LatticeView<T> lattice_unpack(const void* block, std::int64_t bytes) {
    const auto* from = static_cast<const char*>(block);
    Header header{};
    if (bytes >= static_cast<std::int64_t>(sizeof header))
        std::memcpy(&header, from, sizeof header);
    LatticeView<T> lattice;
    const bool plausible =
        header.mark == kMark && header.value_bytes == sizeof(T) && header.dims <= kMaxLatticeDims;
    if (plausible) {
        lattice.dims = static_cast<int>(header.dims);
        lattice.points = header.points;
        lattice.rows = header.rows;
        lattice.ghosts = header.ghosts;
        std::memcpy(lattice.chain_size, header.chain_size, sizeof header.chain_size);
        std::memcpy(lattice.pieces, header.pieces, sizeof header.pieces);
    }
    if (!plausible || block_bytes(lattice) != bytes)
        refuse("lattice: expected a packed lattice of this dtype, got other bytes");
    from += sizeof header;
    each_array(lattice, [&](auto*& array, std::int64_t elements) {
        array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(from);
        from += padded_bytes(array, elements);
    });
    return lattice;
}

template std::int64_t lattice_packed_bytes(const LatticeView<float>&);
template std::int64_t lattice_packed_bytes(const LatticeView<double>&);
template void lattice_pack(const LatticeView<float>&, void*);
template void lattice_pack(const LatticeView<double>&, void*);
template LatticeView<float> lattice_unpack(const void*, std::int64_t);
template LatticeView<double> lattice_unpack(const void*, std::int64_t);

}  // namespace wsss_fast
