#pragma once

#include <cstdint>

#include "common/isa.h"

// The hot loops of the permutohedral lattice, built once for each instruction set. Plain addresses
// and sizes: what they mean is in ops/lattice.h.
namespace wsss_fast {

constexpr int kTilePoints = 64;        // points that are worked on together
constexpr int kMaxTileDims = 16;       // features of a point
constexpr int kLongestFixedChain = 8;  // longer chains say how long they are
constexpr int kWidestRow = 16;         // rows are of 1, 2, 4, 8 or so many values
constexpr int kCornerScale = 8;        // of the offsets of corners
constexpr int kPrefetchPoints = 8;     // so many points ahead their rows are asked for
constexpr int kChainSlack = 40;        // entries behind the last chain that a loop may look at

// The simplices around the points of one tile, a field an array over the tile.
template <typename T>
struct TileSimplices {
    T feature[kMaxTileDims][kTilePoints];                // in; set up to the end of the tile
    T weight[kMaxTileDims + 1][kTilePoints];             // barycentric, of every corner
    std::int32_t origin[kMaxTileDims + 1][kTilePoints];  // the remainder-0 corner, in units of d+1
    std::int32_t rank[kMaxTileDims + 1][kTilePoints];  // place of a coordinate in descending order
    std::uint64_t key[kMaxTileDims + 1][kTilePoints];  // of every corner, where one word holds it
};

// How corners become keys of one word.
struct CornerKeys {
    std::uint64_t stride[kMaxTileDims + 1];  // of a coordinate, times d+1
    std::uint64_t origin;                    // to be taken off
    std::uint64_t all;                       // a step of one along every coordinate
};

// A hash table of keys of one word as a loop sees it; see VertexTable.
struct ProbedTable {
    const std::uint32_t* slots;
    const std::uint64_t* keys;  // by number; one at least
    std::uint32_t tag_mask;
    int shift;
};

// What a probe may say in place of a number.
constexpr std::int32_t kAbsent = -1;
constexpr std::int32_t kUndecided = -2;

// Some points of a lattice and their corners.
template <typename T>
struct SplatPoints {
    const std::int32_t* offset;  // [count][corners] kCornerScale times the row of each corner
    const T* weight;             // [count][corners]
    const T* scale;              // [count] of the values, or null
    int corners;
    std::int64_t count;
    std::int64_t prefetched;  // as many of them have kPrefetchPoints more behind them in offset
};

// Loops over rows of as many values as they were made for.
template <typename T>
struct LatticeRowLoops {
    // rows[corner] += weight * (scale * values) for each corner of each point.
    void (*splat)(const SplatPoints<T>& points, const T* values, T* rows);
    // out = or += factor * scale * (sum over corners of weight * rows[corner]).
    void (*slice)(const SplatPoints<T>& points, const T* rows, T factor, bool add, T* out);
    // row += (row before + row after) / 2 along each of `chains` chains of `length` rows; length 0:
    // each chain stands behind its length.
    void (*blur)(const std::int32_t* chain, std::int64_t chains, int length, T* rows);
    // to += from, or to = from, for `count` pairs of rows.
    void (*fold)(const std::int32_t* to, const std::int32_t* from, std::int64_t count, T* rows);
    void (*copy)(const std::int32_t* to, const std::int32_t* from, std::int64_t count, T* rows);
};

template <typename T>
struct LatticeLoops {
    // feature -> weight, origin, rank. `scale`: [dims], takes features into the hyperplane.
    void (*simplices)(int dims, const T* scale, TileSimplices<T>& tile);
    // origin and rank -> key.
    void (*keys)(int dims, const CornerKeys& corners, TileSimplices<T>& tile);
    // found = the number of each of kTilePoints keys as far as the first slot tells, else kAbsent
    // or kUndecided.
    void (*probe)(const ProbedTable& table, const std::uint64_t* key, const std::uint64_t* hash,
                  std::int32_t* found);
    // The values of a tile: planes, [width][kTilePoints], = or += rows, [kTilePoints][width].
    void (*to_planes)(const T* rows, int width, bool add, T* planes);
    // The other way.
    void (*to_rows)(const T* planes, int width, T* rows);
    LatticeRowLoops<T> (*rows)(int width);
};

// Those of the set that is in use.
template <typename T>
const LatticeLoops<T>& lattice_loops();

namespace baseline {
template <typename T>
LatticeLoops<T> make_lattice_loops();
}
namespace avx2 {
template <typename T>
LatticeLoops<T> make_lattice_loops();
}
namespace avx512 {
template <typename T>
LatticeLoops<T> make_lattice_loops();
}

}  // namespace wsss_fast
