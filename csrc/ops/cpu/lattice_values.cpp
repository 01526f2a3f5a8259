#include "ops/cpu/lattice_values.h"

#include <algorithm>

namespace wsss_fast {
namespace {

// The first ghost at or behind `ghost` that another vertex owns than the one before it.
template <typename T>
std::int64_t owner_start(const LatticeView<T>& lattice, std::int64_t ghost) {
    while (ghost > 0 && ghost < lattice.ghosts &&
           lattice.owner[ghost] == lattice.owner[ghost - 1]) {
        ++ghost;
    }
    return ghost;
}

}  // namespace

std::vector<ChannelBlock> channel_blocks(int channels) {
    std::vector<ChannelBlock> blocks;
    int first = 0;
    for (; channels - first >= kWidestRow; first += kWidestRow)
        blocks.push_back({first, kWidestRow});
    if (first < channels) {
        int width = 1;
        while (width < channels - first) width *= 2;
        blocks.push_back({first, width});
    }
    return blocks;
}

template <typename T>
void LatticeValues<T>::prepare(const LatticeView<T>& lattice,
                               const std::vector<ChannelBlock>& blocks) {
    lattice_ = lattice;
    // So many rows that each block starts at a cache line.
    const std::int64_t rows = (lattice.rows + 15) / 16 * 16;
    memory_.resize(rows * padded_channels(blocks));
    blocks_.clear();
    for (const ChannelBlock& block : blocks) {
        blocks_.push_back({lattice_loops<T>().rows(block.width), block.first, block.width,
                           memory_.data() + rows * block.first});
    }
}

template <typename T>
SplatPoints<T> LatticeValues<T>::points(std::int64_t tile, const T* scale) const {
    const int corners = lattice_.corners();
    const std::int64_t begin = tile * kLatticeTile;
    const std::int64_t count = std::min(kLatticeTile, lattice_.points - begin);
    return {lattice_.offset + begin * corners,
            lattice_.weight + begin * corners,
            scale ? scale + begin : nullptr,
            corners,
            count,
            lattice_.points - begin - kPrefetchPoints};
}

template <typename T>
void LatticeValues<T>::splat(std::int64_t tile, const T* values, const T* scale) {
    const SplatPoints<T> points = this->points(tile, scale);
    // Rows are cleared just before they are first added to.
    const std::int64_t met = tile > 0 ? lattice_.fresh[tile - 1] : 0;
    for (const Block& block : blocks_) {
        std::fill(block.rows + met * block.width, block.rows + lattice_.fresh[tile] * block.width,
                  T(0));
        block.loops.splat(points, values + kLatticeTile * block.first, block.rows);
    }
}

template <typename T>
void LatticeValues<T>::slice(std::int64_t tile, T factor, const T* scale, Slice how, T* out) const {
    const SplatPoints<T> points = this->points(tile, scale);
    for (const Block& block : blocks_) {
        block.loops.slice(points, block.rows, factor, how == Slice::kAdd,
                          out + kLatticeTile * block.first);
    }
}

template <typename T>
void LatticeValues<T>::blur(BlurOrder order, const Execution& execution) {
    for (const Block& block : blocks_) blur_block(block, order, execution);
}

template <typename T>
void LatticeValues<T>::blur_block(const Block& block, BlurOrder order,
                                  const Execution& execution) const {
    constexpr std::int64_t kGrain = 4096;
    parallel_for(execution, lattice_.ghosts, kGrain, [&](std::int64_t begin, std::int64_t end) {
        begin = owner_start(lattice_, begin);
        end = owner_start(lattice_, end);
        if (begin >= end) return;
        block.loops.fold(lattice_.owner + begin, lattice_.ghost + begin, end - begin, block.rows);
    });
    const int corners = lattice_.corners();
    for (int i = 0; i < corners; ++i) {
        const int axis = order == BlurOrder::kForward ? i : corners - 1 - i;
        parallel_for(execution, lattice_.pieces[axis], 1, [&](std::int64_t at, std::int64_t) {
            const LatticePiece& piece = lattice_.piece[axis][at];
            block.loops.blur(lattice_.chain[axis] + piece.begin, piece.chains, piece.length,
                             block.rows);
        });
    }
    parallel_for(execution, lattice_.ghosts, kGrain, [&](std::int64_t begin, std::int64_t end) {
        block.loops.copy(lattice_.ghost + begin, lattice_.owner + begin, end - begin, block.rows);
    });
}

template class LatticeValues<float>;
template class LatticeValues<double>;

}  // namespace wsss_fast
