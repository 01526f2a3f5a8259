// With A = T transposed the walk is out = p(A) seed, p a sum of Chebyshev polynomials, and
// A = 1/degree S of a symmetric S. So the gradient with respect to the seed, p(A transposed) grad,
// is degree p(A) (grad / degree): the same walk.
//
// The gradient with respect to the weights needs the x_k = P_k(A) seed again, from the last to the
// first. None is stored: x_(k-1) = 2 A x_k - x_(k+1) runs backwards as well as forwards.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "common/buffer.h"
#include "common/scratch.h"
#include "ops/cpu/path_bands.h"
#include "ops/cpu/random_walk_image.h"
#include "ops/cpu/random_walk_schedule.h"
#include "ops/random_walk.h"
#include "ops/walk_polynomial.h"

namespace wsss_fast {
namespace {

// The gradient of one image, and its memory.
template <typename T>
class WalkGradient {
  public:
    WalkGradient(const PathPlan& plan, const WalkGradientBatch<T>& batch, WalkArena& arena,
                 const Execution& execution)
        : image_(plan, batch.height, batch.width, batch.maps, arena, execution),
          grad_(image_.take_maps(arena, batch.maps)),
          z_(image_.take_maps(arena, batch.maps)),
          previous_z_(image_.take_maps(arena, batch.maps)) {
        if (!batch.grad_boundary) return;
        x_ = image_.take_maps(arena, batch.maps);
        previous_x_ = image_.take_maps(arena, batch.maps);
        pixels_ = image_.take_maps(arena, 1);
        pairs_ = image_.take_pairs(arena);
        band_sums_ =
            arena.template take<T>(image_.paths().bands().count * image_.paths().parts().plane());
    }

    // With respect to cam alone: another walk.
    void of_cam(const std::vector<double>& chebyshev, double beta, const WalkGradientBatch<T>& of) {
        start(of, beta);
        image_.chebyshev_sum(chebyshev, grad_, previous_z_, z_);
        write_grad_cam(of);
    }

    void of_both(const std::vector<double>& chebyshev, double beta,
                 const WalkGradientBatch<T>& of) {
        start(of, beta);
        walk(chebyshev, of);
        write_grad_cam(of);
        add_paths(beta, of);
    }

  private:
    void start(const WalkGradientBatch<T>& of, double beta) {
        image_.build(of.boundary, beta);
        image_.fill(grad_, [&](const WalkValue& value) {
            return of.grad_out[value.i] * image_.inverse_degree(value);
        });
        image_.clear_maps(previous_z_, image_.maps());
    }

    // Forwards through x_0 .. x_K, then backwards with z_k, what reaches x_k over its degree.
    void walk(const std::vector<double>& chebyshev, const WalkGradientBatch<T>& of) {
        image_.fill(x_, [&](const WalkValue& value) {
            return of.cam[value.i] * (T(1) - of.boundary[value.pixel]);
        });
        image_.clear_maps(previous_x_, image_.maps());
        image_.clear_maps(pixels_, 1);
        image_.clear_pairs(pairs_);
        const std::size_t degree = chebyshev.size() - 1;
        image_.take_steps(static_cast<std::int64_t>(degree),
                          [&](std::int64_t k) { return chebyshev_step(k, x_, previous_x_); });
        // The last but one is the first to be gone back from.
        if (degree % 2 == 0) std::swap(x_, previous_x_);
        const auto last = static_cast<T>(chebyshev[degree]);
        image_.fill(z_, [&](const WalkValue& value) { return last * grad_[value.at]; });
        for (std::size_t k = degree; k-- > 0;) {
            image_.gradient_step({x_, previous_x_, z_, previous_z_, grad_, T(k == 0 ? 1 : 2),
                                  static_cast<T>(chebyshev[k]), pairs_, pixels_});
            std::swap(x_, previous_x_);
            std::swap(z_, previous_z_);
        }
    }

    // z_ is the gradient with respect to the seed, cam * (1 - boundary), over the degree.
    void write_grad_cam(const WalkGradientBatch<T>& of) const {
        const std::int64_t pixels = image_.layout().height * image_.layout().width;
        if (of.grad_boundary) std::fill(of.grad_boundary, of.grad_boundary + pixels, T(0));
        image_.for_values([&](const WalkValue& value) {
            const T grad = z_[value.at] / image_.inverse_degree(value);
            of.grad_cam[value.i] = grad * (T(1) - of.boundary[value.pixel]);
            if (of.grad_boundary) of.grad_boundary[value.pixel] -= grad * of.cam[value.i];
        });
    }

    // From the affinities to the boundary that they are made of.
    void add_paths(double beta, const WalkGradientBatch<T>& of) const {
        if (beta == 0) return;  // all affinities are 1
        const WalkPaths<T>& paths = image_.paths();
        const PathBands& bands = paths.bands();
        const std::int64_t plane = paths.parts().plane();
        Scratch<Buffer<T>> scratch;
        paths.for_bands(image_.execution(), [&](const PathBands::Band& band) {
            const auto planes = scratch.take(paths.parts().size());
            const auto grads = scratch.take(paths.parts().size());
            paths.load(band, of.boundary, planes->data());
            std::fill_n(grads->data(), grads->size(), T(0));
            hand_out(band, beta, planes->data(), grads->data());
            paths.parts().split(path_loops<T>(), planes->data(), grads->data());
            std::copy_n(grads->data(), plane, band_sums_ + band.first / bands.rows * plane);
        });
        const std::int64_t width = image_.layout().width;
        for (std::int64_t y = 0; y < image_.layout().height; ++y) {
            bands.add_row(band_sums_, y, width, of.grad_boundary + y * width);
        }
    }

    // Of all paths that start in a band, to the parts they are made of.
    void hand_out(const PathBands::Band& band, double beta, const T* planes, T* grads) const {
        const WalkPaths<T>& paths = image_.paths();
        const WalkLayout& layout = image_.layout();
        const PathLoops<T>& loops = path_loops<T>();
        Buffer<T> maximum(layout.width);
        Buffer<T> slope(layout.width);
        Buffer<T> grad(layout.width);
        for (std::int64_t y = 0; y < band.rows; ++y) {
            const T* const pixels = pixels_ + (band.first + y) * layout.stride;
            const T* pairs = pairs_ + image_.pair_row(band.first + y);
            for (std::int64_t p = 0; p < layout.count; ++p, pairs += layout.stride) {
                const WalkSpan span = paths.span(p, band.first + y);
                const std::int64_t at = paths.at(y, span);
                loops.maximum(paths.pieces(p), planes + at, span.count, maximum.data());
                for (std::int64_t i = 0; i < span.count; ++i) slope[i] = T(1) - maximum[i];
                raise_affinities(slope.data(), span.count, beta - 1);
                const T* const here = pixels + span.begin;
                const T* const there = here + layout.neighbours[p].shift;
                for (std::int64_t i = 0; i < span.count; ++i) {
                    // At a wall the power of an exponent below 0 is infinite.
                    const T steep = slope[i] <= std::numeric_limits<T>::max() ? slope[i] : T(0);
                    grad[i] = static_cast<T>(-beta) * steep *
                              (pairs[span.begin + i] - here[i] - there[i]);
                }
                loops.hand_out(paths.pieces(p), planes + at, maximum.data(), grad.data(),
                               span.count, grads + at);
            }
        }
    }

    WalkImage<T> image_;
    T* grad_;
    T* z_;
    T* previous_z_;
    // With respect to the boundary only:
    T* x_ = nullptr;
    T* previous_x_ = nullptr;
    T* pixels_ = nullptr;
    T* pairs_ = nullptr;
    T* band_sums_ = nullptr;  // [bands, rows that one reaches, width]
};

// The batch's image alone.
template <typename T>
WalkGradientBatch<T> only(const WalkGradientBatch<T>& batch, std::int64_t image) {
    const std::int64_t pixels = batch.height * batch.width;
    const std::int64_t at = image * batch.maps * pixels;
    WalkGradientBatch<T> one = batch;
    one.grad_out += at;
    one.cam += at;
    one.boundary += image * pixels;
    one.grad_cam += at;
    if (one.grad_boundary) one.grad_boundary += image * pixels;
    one.images = 1;
    return one;
}

}  // namespace

template <typename T>
std::int64_t random_walk_backward_workspace_bytes(const RandomWalkBackwardParams<T>& params) {
    return walk_slots<WalkGradient<T>>(path_plan(params.options.radius), params).total();
}

template <typename T>
void random_walk_backward(const RandomWalkBackwardParams<T>& params) {
    const PathPlan& plan = path_plan(params.options.radius);
    const std::vector<double> chebyshev = walk_gradient_polynomial<T>(params.options);
    for_each_walk(params, walk_slots<WalkGradient<T>>(plan, params),
                  [&](const WalkGradientBatch<T>& batch, std::int64_t image, void* memory) {
                      WalkArena arena(memory);
                      WalkGradient<T> gradient(plan, batch, arena, params.execution);
                      const WalkGradientBatch<T> of = only(batch, image);
                      if (of.grad_boundary) {
                          gradient.of_both(chebyshev, params.options.beta, of);
                      } else {
                          gradient.of_cam(chebyshev, params.options.beta, of);
                      }
                  });
}

template std::int64_t random_walk_backward_workspace_bytes(const RandomWalkBackwardParams<float>&);
template std::int64_t random_walk_backward_workspace_bytes(const RandomWalkBackwardParams<double>&);
template void random_walk_backward(const RandomWalkBackwardParams<float>&);
template void random_walk_backward(const RandomWalkBackwardParams<double>&);

}  // namespace wsss_fast
