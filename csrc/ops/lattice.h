#pragma once

#include <cstdint>

#include "common/buffer.h"
#include "common/parallel.h"

// The permutohedral lattice of Adams, Baek and Davis ("Fast High-Dimensional Filtering Using the
// Permutohedral Lattice", Eurographics 2010): Gaussian filtering of values that sit at points of a
// d-dimensional feature space, in time linear in the number of points. Values are splatted onto the
// vertices of the simplex around each point, blurred along each of the d+1 lattice axes, and sliced
// back at the points.
//
// The points are cut into bands of kLatticeBandPoints. Each band numbers the vertices it meets by
// itself (its "locals") and splats by itself, so that bands can be worked on at once; a vertex that
// an earlier band has met already gets an extra row, which is added to the vertex's own row in the
// order of the bands. Bands depend on the number of points only: any number of threads gives the
// same bits.
namespace wsss_fast {

constexpr int kMaxLatticeDims = 16;
constexpr int kMaxLatticeCorners = kMaxLatticeDims + 1;
constexpr std::int64_t kLatticeTile = 64;  // points that are worked on together
constexpr std::int64_t kLatticeBandPoints = 512 * kLatticeTile;

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

// Features [dims][points] in memory.
template <typename T>
class ArrayFeatures final : public FeatureSource<T> {
  public:
    // Reads them all once; throws std::invalid_argument, naming the argument `name`, where one is
    // NaN or infinite.
    ArrayFeatures(const char* name, const T* features, int dims, std::int64_t points,
                  const Execution& execution);
    std::int64_t points() const override { return points_; }
    int dims() const override { return dims_; }
    void range(int i, T& low, T& high) const override;
    void read(std::int64_t begin, std::int64_t count, T* out) const override;

  private:
    const T* features_;
    int dims_;
    std::int64_t points_;
    T low_[kMaxLatticeDims];
    T high_[kMaxLatticeDims];
};

// What a local of a band stands for.
struct LatticeRow {
    std::int32_t vertex;  // the vertex, where blurred values are found
    std::int32_t splat;   // where its band splats: the vertex, or ~e for extra row e
};

// The two neighbours of a vertex along one axis; where there is none, the number of vertices: a row
// of zeros that stands behind the last vertex.
struct LatticeLink {
    std::int32_t before;
    std::int32_t after;
};

// A lattice as the filters see it: memory that somebody else owns.
template <typename T>
struct LatticeView {
    int dims = 0;                          // d
    std::int64_t points = 0;               // how many points
    std::int64_t vertices = 0;             // how many vertices, numbered as points first touch them
    std::int64_t locals = 0;               // vertices met by each band, summed over the bands
    const std::int32_t* offset = nullptr;  // [points][d+1] local of each corner, within its band
    const T* weight = nullptr;             // [points][d+1] barycentric weight of each corner
    const LatticeRow* row = nullptr;       // [locals] band after band
    const LatticeLink* link = nullptr;     // [d+1][vertices]
    const std::int32_t* fresh = nullptr;   // [tiles] locals its band has met at the end of a tile
    const std::int64_t* band = nullptr;    // [bands+1] first local of each band

    int corners() const { return dims + 1; }
    std::int64_t extras() const { return locals - vertices; }
    std::int64_t tiles() const { return (points + kLatticeTile - 1) / kLatticeTile; }
    std::int64_t bands() const { return (points + kLatticeBandPoints - 1) / kLatticeBandPoints; }
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

  private:
    template <int Words>
    void build_with_keys(const LatticeBuildParams<T>& params, const std::int64_t* low,
                         const std::int64_t* high);

    int dims_ = 0;
    std::int64_t points_ = 0;
    std::int64_t vertices_ = 0;
    Buffer<std::int32_t> offset_;
    Buffer<T> weight_;
    Buffer<LatticeRow> row_;
    Buffer<LatticeLink> link_;
    Buffer<std::int32_t> fresh_;
    Buffer<std::int64_t> band_;
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
