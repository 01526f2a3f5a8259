#pragma once

#include <cstdint>

#include "common/cuda/device_wide.h"
#include "common/cuda/place.h"
#include "ops/crf.h"
#include "ops/cuda/lattice_keys.h"
#include "ops/lattice.h"
#include "ops/lattice_embedding.h"

// The permutohedral lattice on the GPU, one for all images of a batch.
//
// The corners of all points' simplices are sorted by their keys, an image's number in the upper
// bits: equal ones are one vertex, and a vertex's place in the order is its row. So rows of an
// image lie together, and neighbours along the first axes are near each other. Splatting gathers,
// for each vertex, the points in the order of the sort, so that no sum depends on which thread came
// first; no float is ever added atomically. All sums depend on one image alone: it gives the same
// bits in any batch.
namespace wsss_fast::cuda {

class Carve;

// What LatticeBuilder::sort() leaves in its workspace for link().
struct SortingArrays {
    std::uint64_t* key = nullptr;  // [words][corners] of corner r of point p at p (d+1) + r
    SortedPairs pairs{};           // the corners, sorted
    std::int32_t* rank = nullptr;  // [corners] how many vertices there are up to each
    std::int32_t* bad = nullptr;   // [images]
    void* scratch = nullptr;       // of the sorts and the running sum
};

// Where the points of a batch of images lie. Positions are the same in every image: their lattice
// is made for one.
template <typename T>
struct LatticePoints {
    CrfFeatures kind = CrfFeatures::kGiven;     // where the features come from
    std::int64_t images = 0;                    // N
    std::int64_t height = 1;                    // H
    std::int64_t width = 0;                     // W; an image has H W points
    int dims = 0;                               // d; 2 for positions, 5 with colours
    T sxy[2] = {1, 1};                          // standard deviations in x and y, in pixels
    T srgb[3] = {1, 1, 1};                      // standard deviations of the image's channels
    const std::uint8_t* image_bytes = nullptr;  // kColour: [N][3][H][W], or null
    const T* image = nullptr;                   // kColour: the same as numbers, or null
    const T* features = nullptr;                // kGiven: [N][d][H][W]
};

// Makes a lattice in two steps, between which the caller learns how many vertices there are, or
// gives their number beforehand. It owns no memory.
template <typename T>
class LatticeBuilder {
  public:
    // `name`: the argument that an error names. Throws std::invalid_argument where the points are
    // too many for 32-bit numbers, or positions or colours too far from each other for T.
    LatticeBuilder(const char* name, const LatticePoints<T>& points, const Place& place);

    std::int64_t sorting_bytes() const;
    // Sorts the corners into the workspace and writes the number of vertices of each image to
    // `vertices`, [images] on the device.
    void sort(void* workspace, std::int32_t* vertices);

    // How many rows `images` images need that may have `capacity` vertices each.
    std::int64_t rows_of_capacity(std::int64_t capacity) const;
    std::int64_t linking_bytes(std::int64_t rows) const;
    std::int64_t lattice_bytes(std::int64_t rows) const;
    // Makes the lattice after sort(), whose workspace and `vertices` are as it left them. rows: the
    // sum of `vertices`, and capacity 0; or rows_of_capacity(), and images with more vertices than
    // that are marked as bad. Needs the points once more.
    void link(std::int64_t rows, std::int64_t capacity, void* workspace, void* lattice);

  private:
    SortingArrays cut(Carve& carve) const;
    std::int64_t points() const { return corners_ / (points_.dims + 1); }
    // No image has more vertices than its points have corners.
    std::int64_t room_of_image(std::int64_t capacity) const {
        return capacity < of_image_ ? capacity : of_image_;
    }

    LatticePoints<T> points_;
    Place place_;
    LatticeEmbedding<T> embedding_;
    KeyLayout layout_;
    std::int64_t of_image_ = 0;  // corners of the points of an image
    std::int64_t corners_ = 0;   // of all points together
    std::int64_t scratch_bytes_ = 0;
    // After sort().
    SortingArrays arrays_;
    const std::int32_t* vertices_ = nullptr;
};

template <typename T>
struct LatticeFilterParams {
    void* lattice = nullptr;                // as link() made it
    std::int64_t lattice_bytes = 0;         // of it
    std::int64_t images = 0;                // N
    std::int64_t points = 0;                // P of an image
    int dims = 0;                           // d
    const T* values = nullptr;              // [N][channels][P]
    T* out = nullptr;                       // [N][channels][P]; not `values`
    std::int64_t channels = 0;              // how many values a point
    BlurOrder order = BlurOrder::kForward;  // the filter or its transpose
    void* workspace = nullptr;              // of lattice_filter_workspace_bytes()
    Place place;                            // device and stream
};

template <typename T>
std::int64_t lattice_filter_workspace_bytes(const LatticeFilterParams<T>& params);
template <typename T>
void lattice_filter(const LatticeFilterParams<T>& params);

}  // namespace wsss_fast::cuda
