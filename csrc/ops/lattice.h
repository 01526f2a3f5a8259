#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/buffer.h"
#include "common/parallel.h"
#include "ops/lattice_embedding.h"

// The permutohedral lattice of Adams, Baek and Davis ("Fast High-Dimensional Filtering Using the
// Permutohedral Lattice", Eurographics 2010): Gaussian filtering of values that sit at points of a
// d-dimensional feature space, in time linear in the number of points. Values are splatted onto the
// vertices of the simplex around each point, blurred along each of the d+1 lattice axes, and sliced
// back at the points.
//
// The points are cut into bands of kLatticeBandPoints. Every band has a row of its own for each
// vertex that its points touch, numbered as they first touch it, so that bands can be worked on at
// once. The row of the first band that touches a vertex is the vertex; the others are its ghosts,
// whose sums are added to it, in the order of the bands, before the blur, and which get its value
// after it. Bands depend on the number of points only: any number of threads gives the same bits.
//
// A blur along one axis goes along chains, the longest runs of vertices that are neighbours along
// it. A chain needs its own rows only, so it is blurred in place and chains can be worked on at
// once; a vertex without neighbours is in no chain, as the blur leaves it as it is. Chains lie by
// length, so that the loop over one is unrolled.
namespace wsss_fast {

template <int Words>
struct KeyLayout;
template <int Words>
class VertexNumbers;

constexpr std::int64_t kLatticeTile = 64;  // points that are worked on together
constexpr std::int64_t kLatticeBandTiles = 256;
constexpr std::int64_t kLatticeBandPoints = kLatticeBandTiles * kLatticeTile;

constexpr std::int64_t lattice_tiles(std::int64_t points) {
    return (points + kLatticeTile - 1) / kLatticeTile;
}

constexpr std::int64_t lattice_bands(std::int64_t points) {
    return (points + kLatticeBandPoints - 1) / kLatticeBandPoints;
}

struct LatticeBand {
    std::int64_t index;
    std::int64_t begin;  // its first tile
    std::int64_t end;    // the tile after its last
};

// Runs body(band) for every band of the points, bands at once.
template <typename Body>
void for_each_band(const Execution& execution, std::int64_t points, Body&& body) {
    parallel_for(execution, lattice_bands(points), 1, [&](std::int64_t b, std::int64_t) {
        const std::int64_t end = std::min(lattice_tiles(points), (b + 1) * kLatticeBandTiles);
        body(LatticeBand{b, b * kLatticeBandTiles, end});
    });
}

// Where the points lie. Features are in units of the filter's standard deviation.
template <typename T>
class FeatureSource {
  public:
    virtual ~FeatureSource() = default;
    virtual std::int64_t points() const = 0;
    virtual int dims() const = 0;
    // The least and the greatest value that read() gives for feature i; finite.
    virtual void range(int i, T& low, T& high) const = 0;
    // Features of points [begin, begin + count), count <= kLatticeTile: feature i of point begin +
    // p goes to out[i * kLatticeTile + p]. Called from several threads.
    virtual void read(std::int64_t begin, std::int64_t count, T* out) const = 0;
};

// The order in which points in memory (the pixels of an image, say) are taken as points of a
// lattice: strips of columns, each from top to bottom. Neighbours in the plane are then near in the
// order too, and so the vertices that they touch.
class PointOrder {
  public:
    // As they lie in memory.
    explicit PointOrder(std::int64_t points) : PointOrder(1, points, points) {}
    PointOrder(std::int64_t height, std::int64_t width, std::int64_t strip)
        : height_(height), width_(width), strip_(strip) {}

    std::int64_t points() const { return height_ * width_; }
    std::int64_t rows() const { return height_; }

    // run(first, at, count) for each stretch of row y of the plane whose points are neighbours in
    // the order: points first .. first + count are those at `at` and behind it.
    template <typename Run>
    void row_runs(std::int64_t y, Run&& run) const {
        for (std::int64_t x0 = 0; x0 < width_; x0 += strip_) {
            const std::int64_t w = width_ - x0 < strip_ ? width_ - x0 : strip_;
            run(x0 * height_ + y * w, y * width_ + x0, w);
        }
    }

    // run(first, at, count) for each stretch of [begin, end) that lies together in memory: points
    // first .. first + count are those at `at` and behind it.
    template <typename Run>
    void runs(std::int64_t begin, std::int64_t end, Run&& run) const {
        while (begin < end) {
            const std::int64_t s = begin / (strip_ * height_);
            const std::int64_t x0 = s * strip_;
            const std::int64_t w = width_ - x0 < strip_ ? width_ - x0 : strip_;
            const std::int64_t inside = begin - x0 * height_;
            const std::int64_t y = inside / w;
            const std::int64_t x = inside % w;
            const std::int64_t count = end - begin < w - x ? end - begin : w - x;
            run(begin, y * width_ + x0 + x, count);
            begin += count;
        }
    }

    // Where point i lies in memory.
    std::int64_t at(std::int64_t i) const {
        std::int64_t where = 0;
        runs(i, i + 1, [&](std::int64_t, std::int64_t at, std::int64_t) { where = at; });
        return where;
    }

  private:
    std::int64_t height_;
    std::int64_t width_;
    std::int64_t strip_;
};

// Features [dims][points] in memory.
template <typename T>
class ArrayFeatures final : public FeatureSource<T> {
  public:
    // Reads them all once; throws std::invalid_argument, naming the argument `name`, where one is
    // NaN or infinite.
    ArrayFeatures(const char* name, const T* features, int dims, const PointOrder& order,
                  const Execution& execution);
    std::int64_t points() const override { return order_.points(); }
    int dims() const override { return dims_; }
    void range(int i, T& low, T& high) const override;
    void read(std::int64_t begin, std::int64_t count, T* out) const override;

  private:
    const T* features_;
    int dims_;
    PointOrder order_;
    T low_[kMaxLatticeDims];
    T high_[kMaxLatticeDims];
};

// Chains that lie one after the other and are blurred by one thread in one go.
struct LatticePiece {
    std::int64_t begin;   // where the first one starts among the axis's chains
    std::int32_t chains;  // how many
    std::int32_t length;  // rows of each; 0: each stands behind its own length
};

// A lattice as the filters see it: memory that somebody else owns.
template <typename T>
struct LatticeView {
    int dims = 0;                          // d
    std::int64_t points = 0;               // how many points
    std::int64_t rows = 0;                 // vertices and ghosts
    std::int64_t ghosts = 0;               // how many of them are ghosts
    const std::int32_t* offset = nullptr;  // [points][d+1] scaled row of each corner
    const T* weight = nullptr;             // [points][d+1] barycentric weight of each corner
    const std::int32_t* ghost = nullptr;   // [ghosts] ordered by their vertices, then by bands
    const std::int32_t* owner = nullptr;   // [ghosts] the vertex of each ghost
    const std::int64_t* fresh = nullptr;   // [tiles] rows that are in use at the end of a tile
    const std::int32_t* chain[kMaxLatticeCorners] = {};  // of each axis
    const LatticePiece* piece[kMaxLatticeCorners] = {};  // of each axis
    std::int64_t chain_size[kMaxLatticeCorners] = {};    // entries of each axis's chains
    std::int64_t pieces[kMaxLatticeCorners] = {};        // of each axis

    int corners() const { return dims + 1; }
    std::int64_t vertices() const { return rows - ghosts; }
    std::int64_t tiles() const { return lattice_tiles(points); }
    std::int64_t bands() const { return lattice_bands(points); }
};

template <typename T>
struct LatticeBuildParams {
    const char* name = "features";               // the argument that an error names
    const FeatureSource<T>* features = nullptr;  // where the points lie
    Execution execution;                         // threads and cancelling
};

// A lattice that owns its memory. Building it again reuses the memory.
template <typename T>
class Lattice {
  public:
    // Throws std::invalid_argument where the features reach so far that T cannot tell neighbouring
    // vertices apart, or where the points are too many for 32-bit vertex numbers.
    void build(const LatticeBuildParams<T>& params);
    LatticeView<T> view() const;
    // Multiplies the weights of each point of a tile, so all that is splatted from it and sliced at
    // it.
    void scale_weights(std::int64_t tile, const T* factors);
    // Of the memory it holds.
    std::int64_t bytes() const;

  private:
    template <int Words>
    void build_with_keys(const LatticeBuildParams<T>& params, const std::int64_t* low,
                         const std::int64_t* high);
    template <int Words>
    void number_band(const FeatureSource<T>& source, const KeyLayout<Words>& layout,
                     std::int64_t band, VertexNumbers<Words>& numbers);
    void order_ghosts(const Buffer<std::int32_t>& owner, const Buffer<std::int32_t>& ghosts,
                      const Execution& execution);

    int dims_ = 0;
    std::int64_t points_ = 0;
    std::int64_t rows_ = 0;
    Buffer<std::int32_t> offset_;
    Buffer<T> weight_;
    Buffer<std::int32_t> ghost_;
    Buffer<std::int32_t> owner_;
    Buffer<std::int64_t> fresh_;
    Buffer<std::int32_t> chain_[kMaxLatticeCorners];
    std::vector<LatticePiece> piece_[kMaxLatticeCorners];
};

// A lattice as one block of bytes without addresses in it, to be kept in a tensor.
template <typename T>
std::int64_t lattice_packed_bytes(const LatticeView<T>& lattice);
template <typename T>
void lattice_pack(const LatticeView<T>& lattice, void* block);
// A view into the block, which must be aligned to 8 bytes. Throws std::invalid_argument where the
// block is no lattice of this T.
template <typename T>
LatticeView<T> lattice_unpack(const void* block, std::int64_t bytes);

enum class BlurOrder {
    kForward,    // axes 0, 1, ..., d: the filter
    kTransposed  // axes d, ..., 1, 0: its transpose, which is its gradient
};

template <typename T>
struct LatticeFilterParams {
    LatticeView<T> lattice;                 // where the values sit
    const T* values = nullptr;              // [channels][points]
    T* out = nullptr;                       // [channels][points]; not `values`
    std::int64_t channels = 0;              // how many values a point
    BlurOrder order = BlurOrder::kForward;  // the filter or its transpose
    bool check = true;                      // throw std::invalid_argument at NaN and infinities
    Execution execution;                    // threads and cancelling
};

template <typename T>
void lattice_filter(const LatticeFilterParams<T>& params);

}  // namespace wsss_fast
