#include "ops/lattice.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "common/refuse.h"
#include "ops/cpu/lattice_keys.h"

namespace wsss_fast {
namespace {

constexpr std::int64_t kTile = kLatticeTile;

// Adding and taking off 1.5 * 2^(mantissa bits) rounds half to even, and compilers vectorise it.
template <typename T>
constexpr T kRounder = std::is_same_v<T, float> ? T(12582912.0) : T(6755399441055744.0);

// As far from the origin as the hyperplane's coordinates may reach: beyond it the spacing of T is
// no longer fine against the distance of two vertices, and for float64 they would leave 32 bits.
template <typename T>
constexpr double kReach = std::is_same_v<T, float> ? 262144.0 : 268435456.0;

// Takes features into the hyperplane x_0 + ... + x_d = 0, in which the lattice lies.
template <typename T>
struct Embedding {
    int dims;
    T scale[kMaxLatticeDims];

    explicit Embedding(int d) : dims(d) {
        // Scaled so that splatting, blurring and slicing together have unit variance. Rounded to T
        // in the same two steps as the established implementation: a last bit decides which
        // simplex a point on an edge belongs to.
        const auto deviation = static_cast<T>(std::sqrt(2.0 / 3.0) * (d + 1));
        for (int i = 0; i < d; ++i) {
            scale[i] = static_cast<T>(1.0 / std::sqrt(double(i + 1) * (i + 2)) * double(deviation));
        }
    }

    // Bounds of the coordinates of every vertex that a point can touch or a blur can ask for.
    void bounds(const LatticeBuildParams<T>& params, std::int64_t* low, std::int64_t* high) const {
        double sum_low = 0;
        double sum_high = 0;
        for (int j = dims; j >= 0; --j) {
            double least = sum_low;
            double most = sum_high;
            if (j > 0) {
                T feature_low;
                T feature_high;
                params.features->range(j - 1, feature_low, feature_high);
                const double cf_low = double(feature_low) * double(scale[j - 1]);
                const double cf_high = double(feature_high) * double(scale[j - 1]);
                least -= j * cf_high;
                most -= j * cf_low;
                sum_low += cf_low;
                sum_high += cf_high;
            }
            if (!(least >= -kReach<T> && most <= kReach<T>)) {
                refuse(params.name, ": expected features within reach of ",
                       std::is_same_v<T, float> ? "float32" : "float64",
                       " (a few thousand standard deviations from the origin), got lattice "
                       "coordinates from ",
                       least, " to ", most, "; are the standard deviations too small?");
            }
            const int margin = 4 * (dims + 1);
            low[j] = static_cast<std::int64_t>(std::floor(least)) - margin;
            high[j] = static_cast<std::int64_t>(std::ceil(most)) + margin;
        }
    }
};

// The simplices around the points of one tile.
template <typename T>
struct TileSimplices {
    T feature[kMaxLatticeDims * kTile];
    T elevated[kMaxLatticeCorners * kTile];         // coordinates of the points
    T rest[kMaxLatticeCorners * kTile];             // points minus origins, in units of d+1
    T origin[kMaxLatticeCorners * kTile];           // the remainder-0 corner
    std::int32_t rank[kMaxLatticeCorners * kTile];  // place of each coordinate in descending order
    std::int32_t sum[kTile];

    // `feature` is filled up to the end of the tile.
    void find(const Embedding<T>& embedding) {
        const int d = embedding.dims;
        const T corners = static_cast<T>(d + 1);
        const T inverse = T(1) / corners;

        T partial[kTile] = {};
        for (int j = d; j > 0; --j) {
            const T scale = embedding.scale[j - 1];
            const T* f = feature + (j - 1) * kTile;
            T* e = elevated + j * kTile;
            for (int p = 0; p < kTile; ++p) {
                const T cf = f[p] * scale;
                e[p] = partial[p] - static_cast<T>(j) * cf;
                partial[p] += cf;
            }
        }
        std::copy(partial, partial + kTile, elevated);

        // The nearest point whose coordinates are all multiples of d+1.
        std::fill(sum, sum + kTile, 0);
        for (int i = 0; i <= d; ++i) {
            const T* e = elevated + i * kTile;
            T* o = origin + i * kTile;
            T* r = rest + i * kTile;
            for (int p = 0; p < kTile; ++p) {
                const T rounded = (inverse * e[p] + kRounder<T>)-kRounder<T>;
                o[p] = rounded * corners;
                r[p] = e[p] - o[p];
                sum[p] += static_cast<std::int32_t>(rounded);
            }
        }

        std::fill(rank, rank + (d + 1) * kTile, 0);
        for (int i = 0; i < d; ++i) {
            const T* ri = rest + i * kTile;
            std::int32_t* ki = rank + i * kTile;
            for (int j = i + 1; j <= d; ++j) {
                const T* rj = rest + j * kTile;
                std::int32_t* kj = rank + j * kTile;
                for (int p = 0; p < kTile; ++p) {
                    const std::int32_t less = ri[p] < rj[p] ? 1 : 0;
                    ki[p] += less;
                    kj[p] += 1 - less;
                }
            }
        }

        // Where rounding left the hyperplane, the coordinates that moved most move once more.
        for (int i = 0; i <= d; ++i) {
            const T* e = elevated + i * kTile;
            T* o = origin + i * kTile;
            T* r = rest + i * kTile;
            std::int32_t* k = rank + i * kTile;
            for (int p = 0; p < kTile; ++p) {
                const std::int32_t moved = k[p] + sum[p];
                const std::int32_t back = moved < 0 ? d + 1 : (moved > d ? -(d + 1) : 0);
                k[p] = moved + back;
                o[p] += static_cast<T>(back);
                r[p] = (e[p] - o[p]) * inverse;
            }
        }
    }
};

}  // namespace

template <typename T>
ArrayFeatures<T>::ArrayFeatures(const char* name, const T* features, int dims, std::int64_t points,
                                const Execution& execution)
    : features_(features), dims_(dims), points_(points) {
    constexpr std::int64_t kGrain = 1 << 16;
    const std::int64_t ranges = (points + kGrain - 1) / kGrain;
    for (int i = 0; i < dims; ++i) {
        const T* f = features + i * points;
        std::vector<T> low(static_cast<std::size_t>(ranges));
        std::vector<T> high(static_cast<std::size_t>(ranges));
        parallel_for(execution, points, kGrain, [&](std::int64_t begin, std::int64_t end) {
            T least = f[begin];
            T most = f[begin];
            bool finite = true;
            for (std::int64_t p = begin; p < end; ++p) {
                least = std::min(least, f[p]);
                most = std::max(most, f[p]);
                finite &= std::abs(f[p]) <= std::numeric_limits<T>::max();
            }
            const auto r = static_cast<std::size_t>(begin / kGrain);
            low[r] = finite ? least : std::numeric_limits<T>::quiet_NaN();
            high[r] = most;
        });
        for (std::int64_t r = 0; r < ranges; ++r) {
            if (low[static_cast<std::size_t>(r)] == low[static_cast<std::size_t>(r)]) continue;
            std::int64_t p = r * kGrain;
            while (std::abs(f[p]) <= std::numeric_limits<T>::max()) ++p;
            refuse(name, ": expected finite values, got ", f[p], " in feature ", i, " of point ",
                   p);
        }
        low_[i] = ranges ? *std::min_element(low.begin(), low.end()) : T(0);
        high_[i] = ranges ? *std::max_element(high.begin(), high.end()) : T(0);
    }
}

template <typename T>
void ArrayFeatures<T>::range(int i, T& low, T& high) const {
    low = low_[i];
    high = high_[i];
}

template <typename T>
void ArrayFeatures<T>::read(std::int64_t begin, std::int64_t count, T* out) const {
    for (int i = 0; i < dims_; ++i) {
        const T* f = features_ + i * points_ + begin;
        std::copy(f, f + count, out + i * kTile);
    }
}

template <typename T>
void Lattice<T>::build(const LatticeBuildParams<T>& params) {
    dims_ = params.features->dims();
    points_ = params.features->points();
    vertices_ = 0;
    if (points_ > (std::numeric_limits<std::int32_t>::max() - 1) / (dims_ + 1)) {
        refuse(params.name, ": expected at most 2^31 / (d + 1) points, got ", points_);
    }
    std::int64_t low[kMaxLatticeCorners];
    std::int64_t high[kMaxLatticeCorners];
    Embedding<T>(dims_).bounds(params, low, high);
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
    const int d = dims_;
    const int corners = d + 1;
    const FeatureSource<T>& source = *params.features;
    const Embedding<T> embedding(d);
    const KeyLayout<Words> layout(d, low, high);
    const std::int64_t bands = view().bands();

    offset_.resize(points_ * corners);
    weight_.resize(points_ * corners);
    fresh_.resize(view().tiles());

    // Each band by itself: the simplex of each point, its weights, and the band's own numbers for
    // its corners.
    std::vector<VertexTable<Words>> tables(static_cast<std::size_t>(bands));
    parallel_for(params.execution, bands, 1, [&](std::int64_t b, std::int64_t) {
        VertexTable<Words>& table = tables[static_cast<std::size_t>(b)];
        const std::int64_t band_end = std::min(points_, (b + 1) * kLatticeBandPoints);
        TileSimplices<T> tile;
        // Neighbouring points share corners more often than not: those of the last point are at
        // hand.
        Key last_key[kMaxLatticeCorners];
        std::int32_t last_id[kMaxLatticeCorners];
        std::fill(last_id, last_id + corners, -1);
        T sorted[kMaxLatticeCorners] = {};        // the rests of a point in descending order
        int coordinate[kMaxLatticeCorners] = {};  // whose they are
        for (std::int64_t begin = b * kLatticeBandPoints; begin < band_end; begin += kTile) {
            const std::int64_t count = std::min(kTile, band_end - begin);
            source.read(begin, count, tile.feature);
            for (int i = 0; i < d; ++i) {
                std::fill(tile.feature + i * kTile + count, tile.feature + (i + 1) * kTile, T(0));
            }
            tile.find(embedding);
            for (std::int64_t p = 0; p < count; ++p) {
                Key key;
                key -= layout.origin;
                for (int i = 0; i <= d; ++i) {
                    const std::int32_t rank = tile.rank[i * kTile + p];
                    sorted[rank] = tile.rest[i * kTile + p];
                    coordinate[rank] = i;
                    key.add(layout.stride[i],
                            static_cast<std::int64_t>(tile.origin[i * kTile + p]));
                }
                std::int32_t* offset = offset_.data() + (begin + p) * corners;
                T* weight = weight_.data() + (begin + p) * corners;
                for (int r = 0; r <= d; ++r) {
                    // Corner r: r steps along all coordinates, the last r of the order d+1 back.
                    if (r > 0) {
                        key += layout.all;
                        key.add(layout.stride[coordinate[d - r + 1]], -corners);
                        weight[r] = sorted[d - r] - sorted[d - r + 1];
                    }
                    if (last_id[r] < 0 || !(key == last_key[r])) {
                        last_id[r] = table.find_or_insert(key);
                        last_key[r] = key;
                    }
                    offset[r] = last_id[r];
                }
                weight[0] = sorted[d] + (T(1) - sorted[0]);
            }
            fresh_[begin / kTile] = static_cast<std::int32_t>(table.size());
        }
        table.drop_slots();
    });

    // The bands' vertices, numbered together: in the order in which the points first touch them.
    band_.resize(bands + 1);
    band_[0] = 0;
    for (std::int64_t b = 0; b < bands; ++b) {
        band_[b + 1] = band_[b] + tables[static_cast<std::size_t>(b)].size();
    }
    row_.resize(band_[bands]);
    VertexTable<Words> all(bands ? tables[0].size() : 0);
    std::int32_t extras = 0;
    for (std::int64_t b = 0; b < bands; ++b) {
        VertexTable<Words>& table = tables[static_cast<std::size_t>(b)];
        LatticeRow* row = row_.data() + band_[b];
        for (const Key& key : table.keys()) {
            const auto known = static_cast<std::int32_t>(all.size());
            const std::int32_t vertex = all.find_or_insert(key);
            *row++ = {vertex, vertex < known ? ~(extras++) : vertex};
        }
        table.drop();
    }
    vertices_ = all.size();

    // One look-up a vertex and axis: the neighbour found has this vertex on its other side.
    link_.resize(corners * vertices_);
    const auto none = static_cast<std::int32_t>(vertices_);
    constexpr std::int64_t kGrain = 1 << 14;
    parallel_for(params.execution, corners * vertices_, kGrain,
                 [&](std::int64_t begin, std::int64_t end) {
                     std::fill(link_.data() + begin, link_.data() + end, LatticeLink{none, none});
                 });
    const std::vector<Key>& keys = all.keys();
    for (int axis = 0; axis < corners; ++axis) {
        Key step;
        step -= layout.all;
        step.add(layout.stride[axis], corners);
        LatticeLink* link = link_.data() + axis * vertices_;
        parallel_for(params.execution, vertices_, kGrain,
                     [&](std::int64_t begin, std::int64_t end) {
                         for (std::int64_t v = begin; v < end; ++v) {
                             Key key = keys[static_cast<std::size_t>(v)];
                             key += step;
                             const std::int32_t found = all.find(key);
                             if (found < 0) continue;
                             // No two vertices write the same field: a step is one to one.
                             link[v].after = found;
                             link[found].before = static_cast<std::int32_t>(v);
                         }
                     });
    }
}

template <typename T>
LatticeView<T> Lattice<T>::view() const {
    LatticeView<T> view;
    view.dims = dims_;
    view.points = points_;
    view.vertices = vertices_;
    view.locals = row_.size();
    view.offset = offset_.data();
    view.weight = weight_.data();
    view.row = row_.data();
    view.link = link_.data();
    view.fresh = fresh_.data();
    view.band = band_.data();
    return view;
}

namespace {

struct PackedHeader {
    std::int64_t mark;
    std::int64_t value_bytes;
    std::int64_t dims;
    std::int64_t points;
    std::int64_t vertices;
    std::int64_t locals;
};

constexpr std::int64_t kMark = 0x7773'7366'6c61'7401;  // "wssflat", layout 1

// Where each array lies in the block; all of them start at multiples of 8.
struct PackedLayout {
    std::int64_t offset, weight, row, link, fresh, band, end;

    template <typename T>
    explicit PackedLayout(const LatticeView<T>& lattice) {
        const auto after = [](std::int64_t start, std::int64_t count, std::size_t size) {
            return (start + count * static_cast<std::int64_t>(size) + 7) / 8 * 8;
        };
        const std::int64_t entries = lattice.points * lattice.corners();
        offset = sizeof(PackedHeader);
        weight = after(offset, entries, sizeof(std::int32_t));
        row = after(weight, entries, sizeof(T));
        link = after(row, lattice.locals, sizeof(LatticeRow));
        fresh = after(link, lattice.corners() * lattice.vertices, sizeof(LatticeLink));
        band = after(fresh, lattice.tiles(), sizeof(std::int32_t));
        end = after(band, lattice.bands() + 1, sizeof(std::int64_t));
    }
};

template <typename V>
void put(char* block, std::int64_t at, const V* values, std::int64_t count) {
    if (count > 0) std::memcpy(block + at, values, static_cast<std::size_t>(count) * sizeof(V));
}

template <typename V>
const V* get(const char* block, std::int64_t at) {
    return reinterpret_cast<const V*>(block + at);
}

}  // namespace

template <typename T>
std::int64_t lattice_packed_bytes(const LatticeView<T>& lattice) {
    return PackedLayout(lattice).end;
}

template <typename T>
void lattice_pack(const LatticeView<T>& lattice, void* block) {
    const PackedLayout at(lattice);
    auto* bytes = static_cast<char*>(block);
    const PackedHeader header{kMark,          sizeof(T),        lattice.dims,
                              lattice.points, lattice.vertices, lattice.locals};
    const std::int64_t entries = lattice.points * lattice.corners();
    std::memset(block, 0, static_cast<std::size_t>(at.end));
    put(bytes, 0, &header, 1);
    put(bytes, at.offset, lattice.offset, entries);
    put(bytes, at.weight, lattice.weight, entries);
    put(bytes, at.row, lattice.row, lattice.locals);
    put(bytes, at.link, lattice.link, lattice.corners() * lattice.vertices);
    put(bytes, at.fresh, lattice.fresh, lattice.tiles());
    put(bytes, at.band, lattice.band, lattice.bands() + 1);
}

template <typename T>
LatticeView<T> lattice_unpack(const void* block, std::int64_t bytes) {
    const auto* start = static_cast<const char*>(block);
    PackedHeader header{};
    if (bytes >= static_cast<std::int64_t>(sizeof(header)))
        std::memcpy(&header, start, sizeof(header));
    LatticeView<T> lattice;
    lattice.dims = static_cast<int>(header.dims);
    lattice.points = header.points;
    lattice.vertices = header.vertices;
    lattice.locals = header.locals;
    const PackedLayout at(lattice);
    if (header.mark != kMark || header.value_bytes != sizeof(T) || at.end != bytes) {
        refuse("lattice: expected a packed lattice of this dtype, got other bytes");
    }
    lattice.offset = get<std::int32_t>(start, at.offset);
    lattice.weight = get<T>(start, at.weight);
    lattice.row = get<LatticeRow>(start, at.row);
    lattice.link = get<LatticeLink>(start, at.link);
    lattice.fresh = get<std::int32_t>(start, at.fresh);
    lattice.band = get<std::int64_t>(start, at.band);
    return lattice;
}

template class ArrayFeatures<float>;
template class ArrayFeatures<double>;
template class Lattice<float>;
template class Lattice<double>;
template std::int64_t lattice_packed_bytes(const LatticeView<float>&);
template std::int64_t lattice_packed_bytes(const LatticeView<double>&);
template void lattice_pack(const LatticeView<float>&, void*);
template void lattice_pack(const LatticeView<double>&, void*);
template LatticeView<float> lattice_unpack(const void*, std::int64_t);
template LatticeView<double> lattice_unpack(const void*, std::int64_t);

}  // namespace wsss_fast
