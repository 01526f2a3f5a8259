#include "ops/cpu/lattice_isa.h"

#include "common/simd.h"

namespace wsss_fast::WSSS_FAST_ISA {
namespace {

constexpr int kTile = kTilePoints;

// Adding and taking off 1.5 * 2^(mantissa bits) rounds half to even, and compilers vectorise it.
template <typename T>
constexpr T kRounder = sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);

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
        for (int p = 0; p < kTile; ++p) {
            const T cf = tile.feature[j - 1][p] * s;
            elevated[j][p] = partial[p] - times * cf;
            partial[p] += cf;
        }
    }
    for (int p = 0; p < kTile; ++p) elevated[0][p] = partial[p];

    // The nearest point whose coordinates are all multiples of d+1.
    std::int32_t sum[kTile] = {};
    for (int i = 0; i <= d; ++i) {
        for (int p = 0; p < kTile; ++p) {
            const T rounded = (inverse * elevated[i][p] + kRounder<T>)-kRounder<T>;
            tile.rest[i][p] = elevated[i][p] - rounded * corners;
            tile.origin[i][p] = static_cast<std::int32_t>(rounded);
            sum[p] += static_cast<std::int32_t>(rounded);
        }
    }

    for (int i = 0; i <= d; ++i) {
        for (int p = 0; p < kTile; ++p) tile.rank[i][p] = sum[p];
    }
    for (int i = 0; i < d; ++i) {
        for (int j = i + 1; j <= d; ++j) {
            for (int p = 0; p < kTile; ++p) {
                const std::int32_t less = tile.rest[i][p] < tile.rest[j][p] ? 1 : 0;
                tile.rank[i][p] += less;
                tile.rank[j][p] += 1 - less;
            }
        }
    }

    // Where rounding left the hyperplane, the coordinates that moved most move once more.
    for (int i = 0; i <= d; ++i) {
        for (int p = 0; p < kTile; ++p) {
            const std::int32_t moved = tile.rank[i][p];
            const std::int32_t back = moved < 0 ? 1 : (moved > d ? -1 : 0);
            tile.rank[i][p] = moved + back * (d + 1);
            const std::int32_t o = tile.origin[i][p] + back;
            tile.origin[i][p] = o;
            tile.rest[i][p] = (elevated[i][p] - static_cast<T>(o) * corners) * inverse;
        }
    }

    for (int r = 0; r <= d; ++r) {
        T in_place[kTile] = {};
        for (int i = 0; i <= d; ++i) {
            for (int p = 0; p < kTile; ++p) {
                const T here = tile.rest[i][p];
                in_place[p] = tile.rank[i][p] == r ? here : in_place[p];
            }
        }
        for (int p = 0; p < kTile; ++p) tile.sorted[r][p] = in_place[p];
    }
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

// Loops over one row: Width values, or if that is 0 `width`, in blocks that stay in registers.
template <typename T, int Width>
struct Rows {
    static constexpr int kUnit = Width > 0 ? Width : 8;  // other widths are multiples of 8
    static constexpr int kLanes = lanes<T>(kUnit);
    static constexpr int kPacks = kUnit / kLanes;
    using P = Pack<T, kLanes>;
    using V = typename P::value;

    static std::int64_t size(int width) { return Width > 0 ? Width : width; }

    struct Unit {
        V pack[kPacks];

        static Unit load(const T* from) {
            Unit u;
            for (int i = 0; i < kPacks; ++i) u.pack[i] = P::load(from + i * kLanes);
            return u;
        }
        void store(T* to) const {
            for (int i = 0; i < kPacks; ++i) P::store(to + i * kLanes, pack[i]);
        }
    };

    static void splat(const T* values, const T* scale, const std::int32_t* offset, const T* weight,
                      int corners, std::int64_t count, int width, T* rows) {
        const std::int64_t n = size(width);
        for (std::int64_t p = 0; p < count; ++p, offset += corners, weight += corners) {
            const T s = scale ? scale[p] : T(1);
            for (std::int64_t c = 0; c < n; c += kUnit) {
                Unit value = Unit::load(values + p * n + c);
                for (int i = 0; i < kPacks; ++i) value.pack[i] = value.pack[i] * P::all(s);
                for (int r = 0; r < corners; ++r) {
                    T* to = rows + offset[r] * n + c;
                    const V w = P::all(weight[r]);
                    Unit row = Unit::load(to);
                    for (int i = 0; i < kPacks; ++i) row.pack[i] += w * value.pack[i];
                    row.store(to);
                }
            }
        }
    }

    static void slice(const T* rows, T factor, const T* scale, const std::int32_t* offset,
                      const T* weight, int corners, std::int64_t count, int width, bool add,
                      T* out) {
        const std::int64_t n = size(width);
        for (std::int64_t p = 0; p < count; ++p, offset += corners, weight += corners) {
            const V f = P::all(scale ? factor * scale[p] : factor);
            for (std::int64_t c = 0; c < n; c += kUnit) {
                Unit sum = Unit::load(rows + offset[0] * n + c);
                for (int i = 0; i < kPacks; ++i) sum.pack[i] = sum.pack[i] * P::all(weight[0]);
                for (int r = 1; r < corners; ++r) {
                    const V w = P::all(weight[r]);
                    const Unit row = Unit::load(rows + offset[r] * n + c);
                    for (int i = 0; i < kPacks; ++i) sum.pack[i] += w * row.pack[i];
                }
                T* to = out + p * n + c;
                if (add) {
                    const Unit before = Unit::load(to);
                    for (int i = 0; i < kPacks; ++i)
                        sum.pack[i] = before.pack[i] + f * sum.pack[i];
                } else {
                    for (int i = 0; i < kPacks; ++i) sum.pack[i] = f * sum.pack[i];
                }
                sum.store(to);
            }
        }
    }

    // One chain: only the old values of the row before are kept, so it is done in place.
    static void blur_chain(const std::int32_t* chain, int length, std::int64_t n, std::int64_t c,
                           T* rows) {
        const V half = P::all(T(0.5));
        T* here_at = rows + chain[0] * n + c;
        Unit here = Unit::load(here_at);
        Unit before{};
        for (int i = 1; i < length; ++i) {
            T* after_at = rows + chain[i] * n + c;
            const Unit after = Unit::load(after_at);
            Unit sum;
            for (int k = 0; k < kPacks; ++k)
                sum.pack[k] = here.pack[k] + half * (before.pack[k] + after.pack[k]);
            sum.store(here_at);
            before = here;
            here = after;
            here_at = after_at;
        }
        for (int k = 0; k < kPacks; ++k) here.pack[k] = here.pack[k] + half * before.pack[k];
        here.store(here_at);
    }

    template <int Length>
    static void blur_chains(const std::int32_t* chain, std::int64_t chains, int width, T* rows) {
        const std::int64_t n = size(width);
        for (std::int64_t i = 0; i < chains; ++i, chain += Length) {
            for (std::int64_t c = 0; c < n; c += kUnit) blur_chain(chain, Length, n, c, rows);
        }
    }

    static void blur_long_chains(const std::int32_t* chain, std::int64_t chains, int width,
                                 T* rows) {
        const std::int64_t n = size(width);
        for (std::int64_t i = 0; i < chains; ++i) {
            const int length = *chain++;
            for (std::int64_t c = 0; c < n; c += kUnit) blur_chain(chain, length, n, c, rows);
            chain += length;
        }
    }

    static void blur(const std::int32_t* chain, std::int64_t chains, int length, int width,
                     T* rows) {
        static_assert(kLongestFixedChain == 8);
        switch (length) {
            case 2:
                return blur_chains<2>(chain, chains, width, rows);
            case 3:
                return blur_chains<3>(chain, chains, width, rows);
            case 4:
                return blur_chains<4>(chain, chains, width, rows);
            case 5:
                return blur_chains<5>(chain, chains, width, rows);
            case 6:
                return blur_chains<6>(chain, chains, width, rows);
            case 7:
                return blur_chains<7>(chain, chains, width, rows);
            case 8:
                return blur_chains<8>(chain, chains, width, rows);
            default:
                return blur_long_chains(chain, chains, width, rows);
        }
    }

    static void fold(const std::int32_t* to, const std::int32_t* from, std::int64_t count,
                     int width, T* rows) {
        const std::int64_t n = size(width);
        for (std::int64_t i = 0; i < count; ++i) {
            T* at = rows + to[i] * n;
            const T* other = rows + from[i] * n;
            for (std::int64_t c = 0; c < n; c += kUnit) {
                Unit row = Unit::load(at + c);
                const Unit more = Unit::load(other + c);
                for (int k = 0; k < kPacks; ++k) row.pack[k] += more.pack[k];
                row.store(at + c);
            }
        }
    }

    static void copy(const std::int32_t* to, const std::int32_t* from, std::int64_t count,
                     int width, T* rows) {
        const std::int64_t n = size(width);
        for (std::int64_t i = 0; i < count; ++i) {
            T* at = rows + to[i] * n;
            const T* other = rows + from[i] * n;
            for (std::int64_t c = 0; c < n; c += kUnit) Unit::load(other + c).store(at + c);
        }
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
        case 16:
            return Rows<T, 16>::loops();
        case 24:
            return Rows<T, 24>::loops();
        default:
            return Rows<T, 0>::loops();
    }
}

}  // namespace

template <typename T>
LatticeLoops<T> make_lattice_loops() {
    return {&simplices<T>, &keys<T>, &row_loops<T>};
}

template LatticeLoops<float> make_lattice_loops();
template LatticeLoops<double> make_lattice_loops();

}  // namespace wsss_fast::WSSS_FAST_ISA
