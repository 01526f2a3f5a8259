#include "ops/affinity_displacement.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "common/buffer.h"
#include "common/path_plan.h"
#include "common/scratch.h"
#include "ops/cpu/affinity_displacement_isa.h"
#include "ops/cpu/path_bands.h"
#include "ops/cpu/path_isa.h"
#include "ops/cpu/path_layout.h"

namespace wsss_fast {
namespace {

// How a band lies in memory: rows of the map, each filled up so that the loops may take whole tiles
// of its pixels.
template <typename T>
struct BandLayout {
    PathBands bands;
    std::int64_t width;   // of the map
    std::int64_t count;   // pixels of a row that pairs begin in
    std::int64_t stride;  // of a row
    std::int64_t plane;
    PathLayout parts;
    std::vector<PairPath> paths;

    BandLayout(const PathPlan& plan, std::int64_t height, std::int64_t width_in)
        : bands(PathBands::inside(height, plan.paths().radius())),
          width(width_in),
          count(width_in - 2 * bands.reach),
          stride(2 * bands.reach + (count - 1) / kPairTile<T> * kPairTile<T> + kPairTile<T>),
          plane(bands.height * stride),
          parts(plan, bands.height, stride) {
        for (const Offset& to : plan.paths().offsets()) {
            const auto p = static_cast<std::int64_t>(paths.size());
            paths.push_back({parts[p], to.dy * stride + to.dx, to.dy, to.dx});
        }
    }
};

// The values of one band.
template <typename T>
class Band {
  public:
    explicit Band(const BandLayout<T>& layout)
        : layout_(layout), labels_(layout.plane), values_(layout.parts.size() + 2 * layout.plane) {}

    // From the maps of an image: [height][width], displacement two of them.
    void load(const PathBands::Band& band, std::int64_t height, const T* logits,
              const T* displacement, const std::int32_t* labels) {
        const std::int64_t plane = height * layout_.width;
        const std::int64_t rows = band.rows + layout_.bands.reach;
        std::fill(boundary(), boundary() + layout_.plane, T(0));
        std::fill(dy(), dy() + 2 * layout_.plane, T(0));
        std::fill(labels_.data(), labels_.data() + layout_.plane, kUnconfidentLabel);
        for (std::int64_t y = 0; y < rows; ++y) {
            const std::int64_t from = (band.first + y) * layout_.width;
            const std::int64_t to = y * layout_.stride;
            pair_loops<T>().sigmoid(logits + from, layout_.width, boundary() + to);
            std::copy_n(displacement + from, layout_.width, dy() + to);
            std::copy_n(displacement + plane + from, layout_.width, dx() + to);
            for (std::int64_t x = 0; x < layout_.width; ++x) {
                const std::int32_t label = labels[from + x];
                labels_[to + x] = label == kUnconfident ? kUnconfidentLabel : label;
            }
        }
        layout_.parts.join(path_loops<T>(), boundary());
    }

    T* boundary() { return values_.data(); }
    T* dy() { return values_.data() + layout_.parts.size(); }
    T* dx() { return dy() + layout_.plane; }

    PairRow<T> row(std::int64_t y) {
        const std::int64_t at = y * layout_.stride + layout_.bands.reach;
        return {layout_.paths.data(),
                static_cast<std::int64_t>(layout_.paths.size()),
                boundary() + at,
                labels_.data() + at,
                dy() + at,
                dx() + at,
                layout_.count};
    }

  private:
    const BandLayout<T>& layout_;
    Buffer<PairLabel<T>> labels_;
    Buffer<T> values_;  // parts of the boundary, displacement
};

// What the backward pass of a band works on: its values, and their gradients, which lie alike.
template <typename T>
struct BackwardScratch {
    Band<T> values;
    Buffer<T> gradients;

    explicit BackwardScratch(const BandLayout<T>& layout)
        : values(layout), gradients(layout.parts.size() + 2 * layout.plane) {}
};

// Rows of a band's gradients, without what they were filled up with.
template <typename T>
void write(const BandLayout<T>& layout, const T* plane, T* out) {
    for (std::int64_t y = 0; y < layout.bands.height; ++y) {
        std::copy_n(plane + y * layout.stride, layout.width, out + y * layout.width);
    }
}

}  // namespace

template <typename T>
void affinity_displacement(const AffinityDisplacementParams<T>& params) {
    const BandLayout<T> layout(path_plan(params.radius), params.height, params.width);
    const std::int64_t plane = params.height * params.width;
    std::vector<PairSums> of_bands(static_cast<std::size_t>(params.images * layout.bands.count));
    Scratch<Band<T>> scratch;
    parallel_for(params.execution, params.images * layout.bands.count, 1,
                 [&](std::int64_t begin, std::int64_t end) {
                     const auto lease = scratch.take(layout);
                     Band<T>& values = *lease;
                     for (std::int64_t item = begin; item < end; ++item) {
                         const PathBands::Band band = layout.bands[item];
                         values.load(band, params.height,
                                     params.boundary_logits + band.image * plane,
                                     params.displacement + 2 * band.image * plane,
                                     params.labels + band.image * plane);
                         PairSums& sums = of_bands[static_cast<std::size_t>(item)];
                         for (std::int64_t y = 0; y < band.rows; ++y) {
                             stop_if_cancelled(params.execution);
                             pair_loops<T>().sums(values.row(y), sums);
                         }
                     }
                 });
    PairSums all;
    for (const PairSums& sums : of_bands) {
        for (int i = 0; i < kAffinityDisplacementSums; ++i) all.sums[i] += sums.sums[i];
        for (int i = 0; i < kAffinityDisplacementCounts; ++i) all.counts[i] += sums.counts[i];
    }
    for (int i = 0; i < kAffinityDisplacementSums; ++i) {
        params.sums[i] = static_cast<T>(all.sums[i]);
    }
    std::copy_n(all.counts, kAffinityDisplacementCounts, params.counts);
}

template <typename T>
std::int64_t affinity_displacement_backward_workspace_bytes(std::int64_t images,
                                                            std::int64_t height, std::int64_t width,
                                                            int radius) {
    const PathBands bands = PathBands::inside(height, radius);
    return 3 * images * bands.count * bands.height * width * static_cast<std::int64_t>(sizeof(T));
}

template <typename T>
void affinity_displacement_backward(const AffinityDisplacementBackwardParams<T>& params) {
    const BandLayout<T> layout(path_plan(params.radius), params.height, params.width);
    const PathBands& bands = layout.bands;
    const std::int64_t plane = params.height * params.width;
    const std::int64_t band_plane = bands.height * params.width;
    // Of all bands first the gradients of logits, then those of dy, then those of dx.
    T* const workspace = static_cast<T*>(params.workspace);
    const std::int64_t part = params.images * bands.count * band_plane;

    Scratch<BackwardScratch<T>> scratch;
    parallel_for(
        params.execution, params.images * bands.count, 1,
        [&](std::int64_t begin, std::int64_t end) {
            const auto lease = scratch.take(layout);
            auto& [values, gradients] = *lease;
            T* const of_dy = gradients.data() + layout.parts.size();
            T* const of_dx = of_dy + layout.plane;
            for (std::int64_t item = begin; item < end; ++item) {
                const PathBands::Band band = bands[item];
                values.load(band, params.height, params.boundary_logits + band.image * plane,
                            params.displacement + 2 * band.image * plane,
                            params.labels + band.image * plane);
                std::fill(gradients.data(), gradients.data() + gradients.size(), T(0));
                for (std::int64_t y = 0; y < band.rows; ++y) {
                    stop_if_cancelled(params.execution);
                    const std::int64_t at = y * layout.stride + bands.reach;
                    pair_loops<T>().backward(
                        values.row(y),
                        {params.grad_sums, gradients.data() + at, of_dy + at, of_dx + at});
                }
                layout.parts.split(path_loops<T>(), values.boundary(), gradients.data());
                pair_loops<T>().sigmoid_backward(values.boundary(), layout.plane, gradients.data());
                T* const out = workspace + item * band_plane;
                write(layout, gradients.data(), out);
                write(layout, of_dy, out + part);
                write(layout, of_dx, out + 2 * part);
            }
        });

    parallel_for(params.execution, params.images * params.height, bands.rows,
                 [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t item = begin; item < end; ++item) {
                         const std::int64_t image = item / params.height;
                         const std::int64_t y = item % params.height;
                         const T* const from = workspace + image * bands.count * band_plane;
                         T* const logits = params.grad_boundary_logits + item * params.width;
                         T* const dy =
                             params.grad_displacement + 2 * image * plane + y * params.width;
                         bands.sum_row(from, y, params.width, logits);
                         bands.sum_row(from + part, y, params.width, dy);
                         bands.sum_row(from + 2 * part, y, params.width, dy + plane);
                     }
                 });
}

template void affinity_displacement(const AffinityDisplacementParams<float>&);
template std::int64_t affinity_displacement_backward_workspace_bytes<float>(std::int64_t,
                                                                            std::int64_t,
                                                                            std::int64_t, int);
template void affinity_displacement_backward(const AffinityDisplacementBackwardParams<float>&);
template void affinity_displacement(const AffinityDisplacementParams<double>&);
template std::int64_t affinity_displacement_backward_workspace_bytes<double>(std::int64_t,
                                                                             std::int64_t,
                                                                             std::int64_t, int);
template void affinity_displacement_backward(const AffinityDisplacementBackwardParams<double>&);

}  // namespace wsss_fast
