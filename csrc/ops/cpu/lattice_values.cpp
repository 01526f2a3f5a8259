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

template <typename T>
void LatticeValues<T>::prepare(const LatticeView<T>& lattice, int width) {
    lattice_ = lattice;
    width_ = width;
    loops_ = lattice_loops<T>().rows(width);
    rows_.resize(lattice.rows * width);
}

template <typename T>
void LatticeValues<T>::splat(std::int64_t tile, const T* values, const T* scale) {
    const int corners = lattice_.corners();
    const std::int64_t begin = tile * kLatticeTile;
    const std::int64_t count = std::min(kLatticeTile, lattice_.points - begin);
    // Rows are cleared just before they are first added to.
    const std::int64_t met = tile > 0 ? lattice_.fresh[tile - 1] : 0;
    std::fill(rows_.data() + met * width_, rows_.data() + lattice_.fresh[tile] * width_, T(0));
    loops_.splat(values, scale ? scale + begin : nullptr, lattice_.offset + begin * corners,
                 lattice_.weight + begin * corners, corners, count, width_, rows_.data());
}

template <typename T>
void LatticeValues<T>::slice(std::int64_t tile, T factor, const T* scale, Slice how, T* out) const {
    const int corners = lattice_.corners();
    const std::int64_t begin = tile * kLatticeTile;
    const std::int64_t count = std::min(kLatticeTile, lattice_.points - begin);
    loops_.slice(rows_.data(), factor, scale ? scale + begin : nullptr,
                 lattice_.offset + begin * corners, lattice_.weight + begin * corners, corners,
                 count, width_, how == Slice::kAdd, out);
}

template <typename T>
void LatticeValues<T>::blur(BlurOrder order, const Execution& execution) {
    T* rows = rows_.data();
    constexpr std::int64_t kGrain = 4096;
    parallel_for(execution, lattice_.ghosts, kGrain, [&](std::int64_t begin, std::int64_t end) {
        begin = owner_start(lattice_, begin);
        end = owner_start(lattice_, end);
        if (begin >= end) return;
        loops_.fold(lattice_.owner + begin, lattice_.ghost + begin, end - begin, width_, rows);
    });
    const int corners = lattice_.corners();
    for (int i = 0; i < corners; ++i) {
        const int axis = order == BlurOrder::kForward ? i : corners - 1 - i;
        parallel_for(execution, lattice_.pieces[axis], 1, [&](std::int64_t at, std::int64_t) {
            const LatticePiece& piece = lattice_.piece[axis][at];
            loops_.blur(lattice_.chain[axis] + piece.begin, piece.chains, piece.length, width_,
                        rows);
        });
    }
    parallel_for(execution, lattice_.ghosts, kGrain, [&](std::int64_t begin, std::int64_t end) {
        loops_.copy(lattice_.ghost + begin, lattice_.owner + begin, end - begin, width_, rows);
    });
}

template class LatticeValues<float>;
template class LatticeValues<double>;

}  // namespace wsss_fast
