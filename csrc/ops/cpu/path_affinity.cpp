#include "ops/path_affinity.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "common/buffer.h"
#include "common/path_plan.h"
#include "ops/cpu/path_isa.h"
#include "ops/cpu/path_layout.h"

namespace wsss_fast {
namespace {

// Both passes take bands of rows of the affinity. In the backward one a band adds into rows of its
// own: those it starts on and the `reach` below them, which the next band also adds to. Bands
// depend on the sizes alone and are summed in order, so the bits do not depend on the threads.
struct Bands {
    std::int64_t rows;    // rows of affinity in a band
    std::int64_t count;   // bands an image
    std::int64_t height;  // rows of boundary that a band reaches
    std::int64_t reach;

    Bands(std::int64_t height_in, int radius) : reach(radius - 1) {
        rows = std::max<std::int64_t>(16, 2 * reach);
        count = (height_in - reach - 1) / rows + 1;
        height = rows + reach;
    }
};

// The rows of one band of one image, and all parts of paths in them.
template <typename T>
class BandParts {
  public:
    BandParts(const PathLayout& layout, const PathLoops<T>& loops)
        : layout_(layout), loops_(loops), planes_(layout.size()) {}

    void load(const T* boundary, std::int64_t count) {
        std::copy(boundary, boundary + count, planes_.data());
        // A band at the lower edge has fewer rows: the rest is read, but changes nothing.
        std::fill(planes_.data() + count, planes_.data() + layout_.plane(), T(0));
        layout_.join(loops_, planes_.data());
    }

    const T* data() const { return planes_.data(); }

  private:
    const PathLayout& layout_;
    const PathLoops<T>& loops_;
    Buffer<T> planes_;
};

}  // namespace

template <typename T>
void path_affinity(const PathAffinityParams<T>& params) {
    const PathPlan& plan = path_plan(params.radius);
    const std::size_t neighbours = plan.paths().size();
    const Bands bands(params.height, params.radius);
    const std::int64_t height = params.height - bands.reach;
    const std::int64_t width = params.width - 2 * bands.reach;
    const PathLayout layout(plan, bands.height, params.width);
    const PathLoops<T>& loops = path_loops<T>();
    parallel_for(
        params.execution, params.images * bands.count, 1,
        [&](std::int64_t begin, std::int64_t end) {
            BandParts<T> parts(layout, loops);
            for (std::int64_t item = begin; item < end; ++item) {
                const std::int64_t image = item / bands.count;
                const std::int64_t first = item % bands.count * bands.rows;
                const std::int64_t rows = std::min(bands.rows, height - first);
                parts.load(params.boundary + (image * params.height + first) * params.width,
                           (rows + bands.reach) * params.width);
                for (std::int64_t y = 0; y < rows; ++y) {
                    const T* source = parts.data() + y * params.width + bands.reach;
                    T* out = params.affinity +
                             (image * static_cast<std::int64_t>(neighbours) * height + first + y) *
                                 width;
                    for (std::size_t p = 0; p < neighbours; ++p, out += height * width) {
                        loops.affinity(layout[p], source, width, out);
                    }
                }
            }
        });
}

template <typename T>
std::int64_t path_affinity_backward_workspace_bytes(const PathAffinityBackwardParams<T>& params) {
    const Bands bands(params.height, params.radius);
    return params.images * bands.count * bands.height * params.width *
           static_cast<std::int64_t>(sizeof(T));
}

template <typename T>
void path_affinity_backward(const PathAffinityBackwardParams<T>& params) {
    const PathPlan& plan = path_plan(params.radius);
    const std::size_t neighbours = plan.paths().size();
    const Bands bands(params.height, params.radius);
    const std::int64_t height = params.height - bands.reach;
    const std::int64_t width = params.width - 2 * bands.reach;
    const PathLayout layout(plan, bands.height, params.width);
    const PathLoops<T>& loops = path_loops<T>();
    const std::int64_t band_size = bands.height * params.width;
    T* const workspace = static_cast<T*>(params.workspace);

    parallel_for(
        params.execution, params.images * bands.count, 1,
        [&](std::int64_t begin, std::int64_t end) {
            BandParts<T> parts(layout, loops);
            Buffer<T> grads(layout.size());
            Buffer<T> maximum(width);
            for (std::int64_t item = begin; item < end; ++item) {
                const std::int64_t image = item / bands.count;
                const std::int64_t first = item % bands.count * bands.rows;
                const std::int64_t rows = std::min(bands.rows, height - first);
                parts.load(params.boundary + (image * params.height + first) * params.width,
                           (rows + bands.reach) * params.width);
                std::fill(grads.data(), grads.data() + grads.size(), T(0));
                for (std::int64_t y = 0; y < rows; ++y) {
                    const T* source = parts.data() + y * params.width + bands.reach;
                    T* target = grads.data() + y * params.width + bands.reach;
                    const T* grad =
                        params.grad_affinity +
                        (image * static_cast<std::int64_t>(neighbours) * height + first + y) *
                            width;
                    for (std::size_t p = 0; p < neighbours; ++p, grad += height * width) {
                        loops.maximum(layout[p], source, width, maximum.data());
                        loops.hand_out(layout[p], source, maximum.data(), grad, width, target);
                    }
                }
                layout.split(loops, parts.data(), grads.data());
                std::copy(grads.data(), grads.data() + band_size, workspace + item * band_size);
            }
        });

    parallel_for(
        params.execution, params.images * params.height, bands.rows,
        [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t item = begin; item < end; ++item) {
                const std::int64_t image = item / params.height;
                const std::int64_t y = item % params.height;
                T* const out = params.grad_boundary + item * params.width;
                std::fill(out, out + params.width, T(0));
                const std::int64_t oldest = std::max<std::int64_t>(0, y - bands.reach) / bands.rows;
                const std::int64_t newest = std::min(y / bands.rows, bands.count - 1);
                for (std::int64_t band = oldest; band <= newest; ++band) {
                    const std::int64_t row = y - band * bands.rows;
                    if (row >= bands.height) continue;
                    const T* const sums =
                        workspace + (image * bands.count + band) * band_size + row * params.width;
                    for (std::int64_t x = 0; x < params.width; ++x) out[x] -= sums[x];
                }
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
