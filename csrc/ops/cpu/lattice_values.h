#pragma once

#include <cstdint>
#include <vector>

#include "ops/cpu/lattice_isa.h"
#include "ops/lattice.h"
#include "ops/lattice_embedding.h"

namespace wsss_fast {

// The hot loops have these constants of their own, as they include nothing with functions in it.
static_assert(kTilePoints == kLatticeTile && kMaxTileDims == kMaxLatticeDims);

// Some of the channels, which lie together in rows: a cache line of float32 at most. A blur goes
// through them block by block, so that what it jumps about in is small enough for the caches.
struct ChannelBlock {
    int first;  // channel
    int width;  // 1, 2, 4, 8 or kWidestRow; of the last block some may be padding
};

std::vector<ChannelBlock> channel_blocks(int channels);

// As many channels as the blocks hold with their padding.
inline int padded_channels(const std::vector<ChannelBlock>& blocks) {
    return blocks.back().first + blocks.back().width;
}

// The values at the rows of one lattice on their way through splat, blur and slice. A row holds the
// channels of a block at a vertex, or at a ghost of one. Outside, the values of a tile of points
// lie block after block too, [kLatticeTile][width] each: `values` and `out` below.
template <typename T>
class LatticeValues {
  public:
    // The memory is kept and used again by the next lattice.
    void prepare(const LatticeView<T>& lattice, const std::vector<ChannelBlock>& blocks);

    // Tiles of a band must be splatted in order; bands may be splatted at once. Each point's values
    // are multiplied by scale[point], if there is a scale.
    void splat(std::int64_t tile, const T* values, const T* scale);

    // After all bands are splatted.
    void blur(BlurOrder order, const Execution& execution);

    enum class Slice { kSet, kAdd };

    // Sets or adds factor * scale[point] * (what the blur left at the point).
    void slice(std::int64_t tile, T factor, const T* scale, Slice how, T* out) const;

    // Of the memory it holds.
    std::int64_t bytes() const { return memory_.bytes(); }

    // To multiply slices by, so that the filter keeps the mean of values on a filled lattice.
    T gain() const { return lattice_gain<T>(lattice_.dims); }

  private:
    struct Block {
        LatticeRowLoops<T> loops;
        int first;
        int width;
        T* rows;
    };

    SplatPoints<T> points(std::int64_t tile, const T* scale) const;
    void blur_block(const Block& block, BlurOrder order, const Execution& execution) const;

    LatticeView<T> lattice_;
    std::vector<Block> blocks_;
    Buffer<T> memory_;
};

}  // namespace wsss_fast
