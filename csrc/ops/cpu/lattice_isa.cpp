#include "ops/cpu/lattice_isa.h"

#include "common/simd.h"
#include "common/simplex.h"
#include "ops/cpu/lattice_turn.h"

namespace wsss_fast::WSSS_FAST_ISA {
namespace {

constexpr int kTile = kTilePoints;

template <typename T>
void simplices(int d, const T* scale, TileSimplices<T>& tile) {
    const T corners = static_cast<T>(d + 1);
    const T inverse = T(1) / corners;

    // Into the hyperplane of coordinates that sum to zero.
    T elevated[kMaxTileDims + 1][kTile];
    T partial[kTile] = {};
    for (int j = d; j > 0; --j) {
        const T s = scale[j - 1];
        const T times = static_cast<T>(j);
        for (int p = 0; p < kTile; ++p)
            elevated[j][p] = elevate(tile.feature[j - 1][p], s, times, partial[p]);
    }
    for (int p = 0; p < kTile; ++p) elevated[0][p] = partial[p];

    // The nearest point whose coordinates are all multiples of d+1.
    T above[kMaxTileDims + 1][kTile];
    std::int32_t sum[kTile] = {};
    for (int i = 0; i <= d; ++i) {
        for (int p = 0; p < kTile; ++p) {
            const T multiple = nearest_multiple(elevated[i][p], inverse);
            above[i][p] = above_multiple(elevated[i][p], multiple, corners);
            tile.origin[i][p] = static_cast<std::int32_t>(multiple);
            sum[p] += static_cast<std::int32_t>(multiple);
        }
    }

    for (int i = 0; i <= d; ++i) {
        for (int p = 0; p < kTile; ++p) tile.rank[i][p] = sum[p];
    }
    for (int i = 0; i < d; ++i) {
        for (int j = i + 1; j <= d; ++j) {
            for (int p = 0; p < kTile; ++p)
                rank_pair(above[i][p], above[j][p], tile.rank[i][p], tile.rank[j][p]);
        }
    }

    T rest[kMaxTileDims + 1][kTile];
    for (int i = 0; i <= d; ++i) {
        for (int p = 0; p < kTile; ++p) {
            const std::int32_t back = move_back(tile.rank[i][p], d);
            tile.rank[i][p] += back * (d + 1);
            const std::int32_t multiple = tile.origin[i][p] + back;
            tile.origin[i][p] = multiple;
            rest[i][p] = rest_of(elevated[i][p], multiple, corners, inverse);
        }
    }

    T first[kTile];
    T higher[kTile];
    for (int r = 0; r <= d; ++r) {
        T in_place[kTile] = {};
        for (int i = 0; i <= d; ++i) {
            for (int p = 0; p < kTile; ++p) {
                const T here = rest[i][p];
                in_place[p] = tile.rank[i][p] == r ? here : in_place[p];
            }
        }
        for (int p = 0; p < kTile; ++p) {
            if (r == 0) {
                first[p] = in_place[p];
            } else {
                tile.weight[d - r + 1][p] = weight_of_corner(higher[p], in_place[p]);
            }
            higher[p] = in_place[p];
        }
    }
    for (int p = 0; p < kTile; ++p) tile.weight[0][p] = weight_of_origin(first[p], higher[p]);
}

template <typename T>
void keys(int d, const CornerKeys& corners, TileSimplices<T>& tile) {
    std::uint64_t key[kTile];
    for (int p = 0; p < kTile; ++p) key[p] = std::uint64_t{0} - corners.origin;
    for (int i = 0; i <= d; ++i) {
        const auto stride = static_cast<std::int64_t>(corners.stride[i]);
        for (int p = 0; p < kTile; ++p) {
            key[p] += static_cast<std::uint64_t>(tile.origin[i][p] * stride);
        }
    }
    for (int p = 0; p < kTile; ++p) tile.key[0][p] = key[p];
    // Corner r: r steps along all coordinates, the last r of the order d+1 back.
    for (int r = 1; r <= d; ++r) {
        const int last = d - r + 1;
        for (int p = 0; p < kTile; ++p) key[p] += corners.all;
        for (int i = 0; i <= d; ++i) {
            const std::uint64_t stride = corners.stride[i];
            for (int p = 0; p < kTile; ++p) key[p] -= tile.rank[i][p] == last ? stride : 0;
        }
        for (int p = 0; p < kTile; ++p) tile.key[r][p] = key[p];
    }
}

// Step by step over all keys, without a branch: each would be guessed wrong half of the time.
void probe(const ProbedTable& table, const std::uint64_t* key, const std::uint64_t* hash,
           std::int32_t* found) {
    std::uint32_t slot[kTile];
    for (int p = 0; p < kTile; ++p)
        slot[p] = table.slots[static_cast<std::int64_t>(hash[p] >> table.shift)];
    std::int32_t candidate[kTile];
    const std::uint32_t tag_mask = table.tag_mask;
    for (int p = 0; p < kTile; ++p) {
        const std::uint32_t differs = (slot[p] ^ static_cast<std::uint32_t>(hash[p])) & tag_mask;
        const auto number = static_cast<std::int32_t>((slot[p] & ~tag_mask) - 1);
        found[p] = slot[p] == 0 ? kAbsent : kUndecided;
        candidate[p] = differs == 0 && number >= 0 ? number : 0;
    }
    std::uint64_t held[kTile];
    for (int p = 0; p < kTile; ++p) held[p] = table.keys[candidate[p]];
    for (int p = 0; p < kTile; ++p) {
        // Key 0 may have been looked at in place of another: then it is the one only if both are.
        const bool match = (held[p] ^ key[p]) == 0;
        const std::int32_t other = found[p];
        found[p] = match && other == kUndecided ? candidate[p] : other;
    }
}

// Loops over rows of Width values.
template <typename T, int Width>
struct Rows {
    static constexpr int kLanes = lanes<T>(Width);
    static constexpr int kPacks = Width / kLanes;
    using P = Pack<T, kLanes>;
    using V = typename P::value;

    struct Row {
        V pack[kPacks];

        static Row load(const T* from) {
            Row row;
            for (int i = 0; i < kPacks; ++i) row.pack[i] = P::load(from + i * kLanes);
            return row;
        }
        void store(T* to) const {
            for (int i = 0; i < kPacks; ++i) P::store(to + i * kLanes, pack[i]);
        }
        // += w * other
        void add(V w, const Row& other) {
            for (int i = 0; i < kPacks; ++i) pack[i] += w * other.pack[i];
        }
        void multiply(V w) {
            for (int i = 0; i < kPacks; ++i) pack[i] = w * pack[i];
        }
        // + (one + other) / 2
        Row blurred(const Row& one, const Row& other) const {
            const V half = P::all(T(0.5));
            Row row;
            for (int i = 0; i < kPacks; ++i)
                row.pack[i] = pack[i] + half * (one.pack[i] + other.pack[i]);
            return row;
        }
    };

    // Wide rows of a large lattice are in the last level of the cache, or behind it, and which come
    // next is known: they are asked for ahead of their use.
    static constexpr bool kPrefetch = Width * sizeof(T) >= 32;

    static T* at(T* rows, std::int32_t row) { return rows + std::int64_t{row} * Width; }
    static const T* at(const T* rows, std::int32_t row) { return rows + std::int64_t{row} * Width; }

    // The row of a corner: its offset is kCornerScale times its number, so that the address is one
    // addition for the commonest rows.
    static T* corner(T* rows, std::int32_t offset) {
        constexpr int kBytes = Width * static_cast<int>(sizeof(T));
        if constexpr (kBytes % kCornerScale == 0) {
            return reinterpret_cast<T*>(reinterpret_cast<char*>(rows) +
                                        std::int64_t{offset} * (kBytes / kCornerScale));
        } else {
            return at(rows, offset / kCornerScale);
        }
    }
    static const T* corner(const T* rows, std::int32_t offset) {
        return corner(const_cast<T*>(rows), offset);
    }

    // Corners: known to the compiler for images and positions, or 0.
    template <int Corners>
    static void splat_points(const SplatPoints<T>& points, const T* values, T* rows) {
        const int corners = Corners > 0 ? Corners : points.corners;
        const std::int32_t* offset = points.offset;
        const T* weight = points.weight;
        for (std::int64_t p = 0; p < points.count; ++p, offset += corners, weight += corners) {
            Row value = Row::load(values + p * Width);
            if (points.scale) value.multiply(P::all(points.scale[p]));
            for (int r = 0; r < corners; ++r) {
                T* to = corner(rows, offset[r]);
                Row row = Row::load(to);
                row.add(P::all(weight[r]), value);
                row.store(to);
            }
        }
    }

    static void splat(const SplatPoints<T>& points, const T* values, T* rows) {
        if (points.corners == 6) return splat_points<6>(points, values, rows);
        if (points.corners == 3) return splat_points<3>(points, values, rows);
        splat_points<0>(points, values, rows);
    }

    template <int Corners>
    static void slice_points(const SplatPoints<T>& points, const T* rows, T factor, bool add,
                             T* out) {
        const int corners = Corners > 0 ? Corners : points.corners;
        const std::int32_t* offset = points.offset;
        const T* weight = points.weight;
        for (std::int64_t p = 0; p < points.count; ++p, offset += corners, weight += corners) {
            if (kPrefetch && p < points.prefetched) {
                for (int r = 0; r < corners; ++r)
                    __builtin_prefetch(corner(rows, offset[kPrefetchPoints * corners + r]));
            }
            Row sum = Row::load(corner(rows, offset[0]));
            sum.multiply(P::all(weight[0]));
            for (int r = 1; r < corners; ++r)
                sum.add(P::all(weight[r]), Row::load(corner(rows, offset[r])));
            const V f = P::all(points.scale ? factor * points.scale[p] : factor);
            T* to = out + p * Width;
            if (add) {
                Row before = Row::load(to);
                before.add(f, sum);
                before.store(to);
            } else {
                sum.multiply(f);
                sum.store(to);
            }
        }
    }

    static void slice(const SplatPoints<T>& points, const T* rows, T factor, bool add, T* out) {
        if (points.corners == 6) return slice_points<6>(points, rows, factor, add, out);
        if (points.corners == 3) return slice_points<3>(points, rows, factor, add, out);
        slice_points<0>(points, rows, factor, add, out);
    }

    // One chain: only the old values of the row before are kept, so it is done in place.
    static void blur_chain(const std::int32_t* chain, int length, T* rows) {
        T* here_at = at(rows, chain[0]);
        Row here = Row::load(here_at);
        Row before{};
        for (int i = 1; i < length; ++i) {
            T* after_at = at(rows, chain[i]);
            const Row after = Row::load(after_at);
            here.blurred(before, after).store(here_at);
            before = here;
            here = after;
            here_at = after_at;
        }
        here.blurred(before, Row{}).store(here_at);
    }

    template <int Length>
    static void blur_chains(const std::int32_t* chain, std::int64_t chains, T* rows) {
        constexpr int kAhead = 32 / Length * Length;
        static_assert(kAhead + Length <= kChainSlack);
        for (std::int64_t i = 0; i < chains; ++i, chain += Length) {
            if (Width * sizeof(T) >= 16) {
                for (int k = 0; k < Length; ++k) __builtin_prefetch(at(rows, chain[kAhead + k]), 1);
            }
            blur_chain(chain, Length, rows);
        }
    }

    static void blur_long_chains(const std::int32_t* chain, std::int64_t chains, T* rows) {
        for (std::int64_t i = 0; i < chains; ++i) {
            const int length = *chain++;
            blur_chain(chain, length, rows);
            chain += length;
        }
    }

    static void blur(const std::int32_t* chain, std::int64_t chains, int length, T* rows) {
        static_assert(kLongestFixedChain == 8);
        switch (length) {
            case 2:
                return blur_chains<2>(chain, chains, rows);
            case 3:
                return blur_chains<3>(chain, chains, rows);
            case 4:
                return blur_chains<4>(chain, chains, rows);
            case 5:
                return blur_chains<5>(chain, chains, rows);
            case 6:
                return blur_chains<6>(chain, chains, rows);
            case 7:
                return blur_chains<7>(chain, chains, rows);
            case 8:
                return blur_chains<8>(chain, chains, rows);
            default:
                return blur_long_chains(chain, chains, rows);
        }
    }

    static void fold(const std::int32_t* to, const std::int32_t* from, std::int64_t count,
                     T* rows) {
        for (std::int64_t i = 0; i < count; ++i) {
            Row row = Row::load(at(rows, to[i]));
            row.add(P::all(T(1)), Row::load(at(rows, from[i])));
            row.store(at(rows, to[i]));
        }
    }

    static void copy(const std::int32_t* to, const std::int32_t* from, std::int64_t count,
                     T* rows) {
        for (std::int64_t i = 0; i < count; ++i)
            Row::load(at(rows, from[i])).store(at(rows, to[i]));
    }

    static LatticeRowLoops<T> loops() { return {&splat, &slice, &blur, &fold, &copy}; }
};

template <typename T>
LatticeRowLoops<T> row_loops(int width) {
    switch (width) {
        case 1:
            return Rows<T, 1>::loops();
        case 2:
            return Rows<T, 2>::loops();
        case 4:
            return Rows<T, 4>::loops();
        case 8:
            return Rows<T, 8>::loops();
        default:
            return Rows<T, kWidestRow>::loops();
    }
}

}  // namespace

template <typename T>
LatticeLoops<T> make_lattice_loops() {
    return {&simplices<T>, &keys<T>, &probe, &to_planes<T>, &to_rows<T>, &row_loops<T>};
}

template LatticeLoops<float> make_lattice_loops();
template LatticeLoops<double> make_lattice_loops();

}  // namespace wsss_fast::WSSS_FAST_ISA
