#include "ops/path_affinity.h"

#include <algorithm>
#include <cstdint>

#include "common/buffer.h"
#include "common/path_plan.h"
#include "common/scratch.h"
#include "ops/cpu/path_bands.h"
#include "ops/cpu/path_isa.h"
#include "ops/cpu/path_layout.h"

namespace wsss_fast {
namespace {

// A call's sizes, and where the rows of its bands are.
template <typename T>
struct Layout {
    PathBands bands;
    std::int64_t neighbours;
    std::int64_t map_height;
    std::int64_t map_width;
    std::int64_t width;  // of the affinity
    PathLayout parts;    // of one band

    template <typename Params>
    explicit Layout(const Params& params)
        : bands(PathBands::inside(params.height, params.radius)),
          neighbours(static_cast<std::int64_t>(path_plan(params.radius).paths().size())),
          map_height(params.height),
          map_width(params.width),
          width(params.width - 2 * bands.reach),
          parts(path_plan(params.radius), bands.height, params.width) {}

    // Of the first pixel of row y of a band that has an affinity, in the band's planes.
    std::int64_t source(std::int64_t y) const { return y * map_width + bands.reach; }
    // Of the affinity of row y of a band with neighbour p.
    std::int64_t affinity(const PathBands::Band& band, std::int64_t y, std::int64_t p) const {
        return ((band.image * neighbours + p) * bands.starts + band.first + y) * width;
    }

    // All parts in the rows of a band.
    void load(const PathBands::Band& band, const T* boundary, T* planes) const {
        const std::int64_t count = (band.rows + bands.reach) * map_width;
        std::copy_n(boundary + (band.image * map_height + band.first) * map_width, count, planes);
        // The last band of an image may have fewer rows.
        std::fill(planes + count, planes + parts.plane(), T(0));
        parts.join(path_loops<T>(), planes);
    }
};

// What the backward pass of a band works on.
template <typename T>
struct BackwardScratch {
    Buffer<T> planes;
    Buffer<T> gradients;  // of maxima: those of affinities, negative
    Buffer<T> maximum;    // of one row

    explicit BackwardScratch(const Layout<T>& layout)
        : planes(layout.parts.size()), gradients(layout.parts.size()), maximum(layout.width) {}
};

// Asks for the row that comes next in memory: it is read once and the rows are short, so that the
// hardware would ask for it too late.
template <typename T>
void prefetch_next(const T* row, std::int64_t width) {
    constexpr std::int64_t kLine = 64 / sizeof(T);
    for (std::int64_t i = 0; i < width; i += kLine) __builtin_prefetch(row + width + i);
}

}  // namespace

template <typename T>
void path_affinity(const PathAffinityParams<T>& params) {
    const Layout<T> layout(params);
    const PathLoops<T>& loops = path_loops<T>();
    parallel_for(params.execution, params.images * layout.bands.count, 1,
                 [&](std::int64_t begin, std::int64_t end) {
                     Buffer<T> planes(layout.parts.size());
                     for (std::int64_t item = begin; item < end; ++item) {
                         const PathBands::Band band = layout.bands[item];
                         layout.load(band, params.boundary, planes.data());
                         for (std::int64_t y = 0; y < band.rows; ++y) {
                             const T* const source = planes.data() + layout.source(y);
                             for (std::int64_t p = 0; p < layout.neighbours; ++p) {
                                 stop_if_cancelled(params.execution);
                                 loops.affinity(layout.parts[p], source, layout.width,
                                                params.affinity + layout.affinity(band, y, p));
                             }
                         }
                     }
                 });
}

template <typename T>
std::int64_t path_affinity_backward_workspace_bytes(const PathAffinityBackwardParams<T>& params) {
    const PathBands bands = PathBands::inside(params.height, params.radius);
    return params.images * bands.count * bands.height * params.width *
           static_cast<std::int64_t>(sizeof(T));
}

template <typename T>
void path_affinity_backward(const PathAffinityBackwardParams<T>& params) {
    const Layout<T> layout(params);
    const PathLoops<T>& loops = path_loops<T>();
    T* const workspace = static_cast<T*>(params.workspace);

    Scratch<BackwardScratch<T>> scratch;
    parallel_for(
        params.execution, params.images * layout.bands.count, 1,
        [&](std::int64_t begin, std::int64_t end) {
            const auto lease = scratch.take(layout);
            auto& [planes, gradients, maximum] = *lease;
            for (std::int64_t item = begin; item < end; ++item) {
                const PathBands::Band band = layout.bands[item];
                layout.load(band, params.boundary, planes.data());
                std::fill_n(gradients.data(), gradients.size(), T(0));
                for (std::int64_t y = 0; y < band.rows; ++y) {
                    const T* const source = planes.data() + layout.source(y);
                    T* const target = gradients.data() + layout.source(y);
                    for (std::int64_t p = 0; p < layout.neighbours; ++p) {
                        stop_if_cancelled(params.execution);
                        const T* const grad = params.grad_affinity + layout.affinity(band, y, p);
                        prefetch_next(grad, layout.width);
                        loops.maximum(layout.parts[p], source, layout.width, maximum.data());
                        loops.hand_out(layout.parts[p], source, maximum.data(), grad, layout.width,
                                       target);
                    }
                }
                layout.parts.split(loops, planes.data(), gradients.data());
                T* const out = workspace + item * layout.parts.plane();
                for (std::int64_t i = 0; i < layout.parts.plane(); ++i) out[i] = -gradients[i];
            }
        });

    parallel_for(params.execution, params.images * params.height, layout.bands.rows,
                 [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t item = begin; item < end; ++item) {
                         const std::int64_t image = item / params.height;
                         layout.bands.sum_row(
                             workspace + image * layout.bands.count * layout.parts.plane(),
                             item % params.height, params.width,
                             params.grad_boundary + item * params.width);
                     }
                 });
}

template void path_affinity(const PathAffinityParams<float>&);
template std::int64_t path_affinity_backward_workspace_bytes(
    const PathAffinityBackwardParams<float>&);
template void path_affinity_backward(const PathAffinityBackwardParams<float>&);
template void path_affinity(const PathAffinityParams<double>&);
template std::int64_t path_affinity_backward_workspace_bytes(
    const PathAffinityBackwardParams<double>&);
template void path_affinity_backward(const PathAffinityBackwardParams<double>&);

}  // namespace wsss_fast
