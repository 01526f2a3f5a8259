#include "ops/lattice.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "common/refuse.h"
#include "ops/cpu/lattice_chains.h"
#include "ops/cpu/lattice_isa.h"
#include "ops/cpu/lattice_keys.h"
#include "ops/lattice_embedding.h"

namespace wsss_fast {
namespace {

constexpr std::int64_t kTile = kLatticeTile;

// Bounds of the coordinates of every vertex that a point can touch or a blur can ask for.
template <typename T>
void vertex_bounds(const LatticeBuildParams<T>& params, int dims, std::int64_t* low,
                   std::int64_t* high) {
    T feature_low[kMaxLatticeDims];
    T feature_high[kMaxLatticeDims];
    for (int i = 0; i < dims; ++i) params.features->range(i, feature_low[i], feature_high[i]);
    double least[kMaxLatticeCorners];
    double most[kMaxLatticeCorners];
    LatticeEmbedding<T>(dims).bounds(params.name, feature_low, feature_high, least, most);
    const int margin = 4 * (dims + 1);
    for (int j = 0; j <= dims; ++j) {
        low[j] = static_cast<std::int64_t>(std::floor(least[j])) - margin;
        high[j] = static_cast<std::int64_t>(std::ceil(most[j])) + margin;
    }
}

// How many of `count` things each thread does.
std::int64_t share(std::int64_t count, const Execution& execution) {
    return (count + execution.threads - 1) / execution.threads;
}

// The strides of one word as the vectorised loop takes them.
template <int Words>
CornerKeys corner_keys(const KeyLayout<Words>& layout, int dims) {
    CornerKeys plain{};
    plain.origin = layout.origin.word[0];
    plain.all = layout.all.word[0];
    for (int i = 0; i <= dims; ++i)
        plain.stride[i] = layout.stride[static_cast<std::size_t>(i)].word[0] *
                          static_cast<std::uint64_t>(dims + 1);
    return plain;
}

// Keys of any width, of the remainder-r corners of a tile: those of remainder 0, or a step on from
// the corners of remainder r-1, which `key` holds.
template <int Words, typename T>
void step_keys(const KeyLayout<Words>& layout, const TileSimplices<T>& tile, int d, int r,
               VertexKey<Words>* key) {
    for (std::int64_t p = 0; p < kTile; ++p) {
        if (r > 0) key[p] += layout.all;
        if (r == 0) {
            key[p] = {};
            key[p] -= layout.origin;
        }
        for (int i = 0; i <= d; ++i) {
            const auto& stride = layout.stride[static_cast<std::size_t>(i)];
            if (r == 0) key[p].add(stride, std::int64_t{tile.origin[i][p]} * (d + 1));
            // All coordinates step on by one, and the last r of the order go d+1 back.
            if (r > 0 && tile.rank[i][p] == d - r + 1) key[p].add(stride, -(d + 1));
        }
    }
}

// Links each vertex to the one that is a step away, if there is one.
template <int Words>
void link_vertices(const Buffer<std::int32_t>& vertices, const VertexKey<Words>* keys,
                   const VertexTable<Words>& table, const VertexKey<Words>& step, Probe probe,
                   const Execution& execution, AxisChains& links) {
    const std::int64_t size = vertices.size();
    VertexKey<Words> key[2][kTile];
    std::uint64_t hash[2][kTile];
    std::int32_t found[kTile];
    // Slots are asked for one block of vertices ahead of their use.
    const auto ask = [&](std::int64_t begin) {
        const std::int64_t which = begin / kTile % 2;
        for (std::int64_t i = 0; i < kTile; ++i) {
            key[which][i] = keys[vertices[std::min(begin + i, size - 1)]];
            key[which][i] += step;
            hash[which][i] = key[which][i].hash();
            table.prefetch(hash[which][i]);
        }
    };
    if (size > 0) ask(0);
    for (std::int64_t begin = 0; begin < size; begin += kTile) {
        const std::int64_t which = begin / kTile % 2;
        stop_if_cancelled(execution, begin);
        if (begin + kTile < size) ask(begin + kTile);
        table.look(key[which], hash[which], keys, probe, found);
        for (std::int64_t i = 0; i < kTile; ++i) {
            if (found[i] == kUndecided) found[i] = table.find(key[which][i], hash[which][i], keys);
        }
        links.link(begin, found, std::min(kTile, size - begin));
    }
}

}  // namespace

template <typename T>
void Lattice<T>::build(const LatticeBuildParams<T>& params) {
    dims_ = params.features->dims();
    points_ = params.features->points();
    rows_ = 0;
    if (points_ > (std::numeric_limits<std::int32_t>::max() - 1) / (dims_ + 1)) {
        refuse(params.name, ": expected at most 2^31 / (d + 1) points, got ", points_);
    }
    std::int64_t low[kMaxLatticeCorners];
    std::int64_t high[kMaxLatticeCorners];
    vertex_bounds(params, dims_, low, high);
    // At least two coordinates of at most 31 bits go into a word: 16 of them into 8.
    if (words_needed(dims_, low, high) == 1) {
        build_with_keys<1>(params, low, high);
    } else {
        build_with_keys<8>(params, low, high);
    }
}

template <typename T>
template <int Words>
void Lattice<T>::build_with_keys(const LatticeBuildParams<T>& params, const std::int64_t* low,
                                 const std::int64_t* high) {
    using Key = VertexKey<Words>;
    const int corners = dims_ + 1;
    const KeyLayout<Words> layout(dims_, low, high);
    const std::int64_t bands = view().bands();

    offset_.resize(points_ * corners);
    weight_.resize(points_ * corners);
    fresh_.resize(view().tiles());

    // Each band by itself. A thread takes its share in one go, here and for the axes below, as it
    // uses its tables again for all of it.
    std::vector<Buffer<Key>> band_keys(static_cast<std::size_t>(bands));
    parallel_for(params.execution, bands, share(bands, params.execution),
                 [&](std::int64_t b, std::int64_t end) {
                     VertexNumbers<Words> numbers(kLatticeBandPoints);
                     for (; b < end; ++b) {
                         stop_if_cancelled(params.execution);
                         numbers.clear();
                         number_band(*params.features, layout, b, numbers);
                         band_keys[static_cast<std::size_t>(b)] = numbers.keys();
                     }
                 });

    // The bands one behind the other.
    std::vector<std::int64_t> first(static_cast<std::size_t>(bands) + 1, 0);
    for (std::size_t b = 0; b < band_keys.size(); ++b)
        first[b + 1] = first[b] + band_keys[b].size();
    rows_ = first.back();
    if (rows_ > std::numeric_limits<std::int32_t>::max() / kCornerScale) {
        refuse(params.name, ": expected a lattice of at most 2^31 / ", kCornerScale,
               " vertices, got ", rows_);
    }
    Buffer<Key> keys(rows_);
    parallel_for(params.execution, bands, 1, [&](std::int64_t b, std::int64_t) {
        Buffer<Key>& mine = band_keys[static_cast<std::size_t>(b)];
        const std::int64_t row = first[static_cast<std::size_t>(b)];
        std::copy(mine.data(), mine.data() + mine.size(), keys.data() + row);
        mine.release();
        const std::int64_t begin = b * kLatticeBandPoints;
        const std::int64_t end = std::min(points_, begin + kLatticeBandPoints);
        std::int32_t* offset = offset_.data() + begin * corners;
        for (std::int64_t i = 0; i < (end - begin) * corners; ++i)
            offset[i] = (offset[i] + static_cast<std::int32_t>(row)) * kCornerScale;
        for (std::int64_t t = begin / kTile; t * kTile < end; ++t) fresh_[t] += row;
    });

    const Probe probe = lattice_loops<T>().probe;

    // Which rows are the same vertex.
    VertexTable<Words> table;
    table.reset(rows_, params.execution);
    Buffer<std::int32_t> owner(rows_);
    constexpr std::int64_t kAhead = 16;
    for (std::int64_t row = 0; row < rows_; ++row) {
        stop_if_cancelled(params.execution, row);
        if (row + kAhead < rows_) table.prefetch(keys[row + kAhead].hash());
        owner[row] = table.find_or_insert(keys[row], keys[row].hash(), keys.data(),
                                          static_cast<std::int32_t>(row));
    }
    Buffer<std::int32_t> vertices(rows_ + 1);
    Buffer<std::int32_t> ghosts(rows_ + 1);
    std::int64_t vertex_count = 0;
    std::int64_t ghost_count = 0;
    for (std::int64_t row = 0; row < rows_; ++row) {
        stop_if_cancelled(params.execution, row);
        vertices[vertex_count] = static_cast<std::int32_t>(row);
        ghosts[ghost_count] = static_cast<std::int32_t>(row);
        const bool is_vertex = owner[row] == row;
        vertex_count += is_vertex ? 1 : 0;
        ghost_count += is_vertex ? 0 : 1;
    }
    vertices.resize(vertex_count);
    ghosts.resize(ghost_count);
    order_ghosts(owner, ghosts, params.execution);
    ghosts.release();
    owner.release();

    parallel_for(params.execution, corners, share(corners, params.execution),
                 [&](std::int64_t axis, std::int64_t end) {
                     AxisChains links(rows_, vertices);
                     for (; axis < end; ++axis) {
                         Key step{};
                         step -= layout.all;
                         step.add(layout.stride[static_cast<std::size_t>(axis)], corners);
                         links.clear();
                         link_vertices(vertices, keys.data(), table, step, probe, params.execution,
                                       links);
                         links.cut(params.execution, chain_[axis], piece_[axis]);
                     }
                 });
}

// Finds the simplices of a band's points, their weights, and numbers for their corners.
template <typename T>
template <int Words>
void Lattice<T>::number_band(const FeatureSource<T>& source, const KeyLayout<Words>& layout,
                             std::int64_t band, VertexNumbers<Words>& numbers) {
    using Key = VertexKey<Words>;
    const int d = dims_;
    const int corners = d + 1;
    const LatticeEmbedding<T> embedding(d);
    const LatticeLoops<T>& loops = lattice_loops<T>();
    const CornerKeys plain = corner_keys(layout, d);
    const std::int64_t band_end = std::min(points_, (band + 1) * kLatticeBandPoints);
    const auto tile = std::make_unique<TileSimplices<T>>();
    Key key[kTile];
    for (std::int64_t begin = band * kLatticeBandPoints; begin < band_end; begin += kTile) {
        const std::int64_t count = std::min(kTile, band_end - begin);
        source.read(begin, count, tile->feature[0]);
        for (int i = 0; i < d; ++i)
            std::fill(tile->feature[i] + count, tile->feature[i] + kTile, T(0));
        loops.simplices(d, embedding.scale, *tile);
        if constexpr (Words == 1) loops.keys(d, plain, *tile);
        for (int r = 0; r <= d; ++r) {
            if constexpr (Words == 1) {
                std::memcpy(key, tile->key[r], sizeof key);
            } else {
                step_keys(layout, *tile, d, r, key);
            }
            std::int32_t row[kTile];
            numbers.find_or_insert(key, count, loops.probe, row);
            std::int32_t* offset = offset_.data() + begin * corners + r;
            T* weight = weight_.data() + begin * corners + r;
            for (std::int64_t p = 0; p < count; ++p) {
                offset[p * corners] = row[p];
                weight[p * corners] = tile->weight[r][p];
            }
        }
        fresh_[begin / kTile] = numbers.size();
    }
}

template <typename T>
void Lattice<T>::scale_weights(std::int64_t tile, const T* factors) {
    const int corners = dims_ + 1;
    T* weight = weight_.data() + tile * kTile * corners;
    for (std::int64_t p = tile * kTile; p < std::min(points_, (tile + 1) * kTile); ++p, ++factors) {
        for (int r = 0; r < corners; ++r) *weight++ *= *factors;
    }
}

// Ghosts in the order of their vertices.
template <typename T>
void Lattice<T>::order_ghosts(const Buffer<std::int32_t>& owner, const Buffer<std::int32_t>& ghosts,
                              const Execution& execution) {
    Buffer<std::int32_t> next(rows_ + 1);
    std::fill(next.data(), next.data() + rows_ + 1, 0);
    for (std::int64_t i = 0; i < ghosts.size(); ++i) {
        stop_if_cancelled(execution, i);
        ++next[owner[ghosts[i]] + 1];
    }
    for (std::int64_t row = 0; row < rows_; ++row) next[row + 1] += next[row];
    ghost_.resize(ghosts.size());
    owner_.resize(ghosts.size());
    for (std::int64_t i = 0; i < ghosts.size(); ++i) {
        stop_if_cancelled(execution, i);
        const std::int32_t at = next[owner[ghosts[i]]]++;
        ghost_[at] = ghosts[i];
        owner_[at] = owner[ghosts[i]];
    }
}

template <typename T>
std::int64_t Lattice<T>::bytes() const {
    std::int64_t sum =
        offset_.bytes() + weight_.bytes() + ghost_.bytes() + owner_.bytes() + fresh_.bytes();
    for (const Buffer<std::int32_t>& chain : chain_) sum += chain.bytes();
    return sum;
}

template <typename T>
LatticeView<T> Lattice<T>::view() const {
    LatticeView<T> view;
    view.dims = dims_;
    view.points = points_;
    view.rows = rows_;
    view.ghosts = ghost_.size();
    view.offset = offset_.data();
    view.weight = weight_.data();
    view.ghost = ghost_.data();
    view.owner = owner_.data();
    view.fresh = fresh_.data();
    for (int axis = 0; axis <= dims_; ++axis) {
        view.chain[axis] = chain_[axis].data();
        view.chain_size[axis] = chain_[axis].size();
        view.piece[axis] = piece_[axis].data();
        view.pieces[axis] = static_cast<std::int64_t>(piece_[axis].size());
    }
    return view;
}

template class Lattice<float>;
template class Lattice<double>;

}  // namespace wsss_fast
