// As on the CPU (ops/cpu/random_walk_backward.cpp): with respect to cam alone the gradient is the
// same walk of grad / degree; with respect to the boundary too it goes back through the steps, none
// of which is stored.
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "common/cuda/carve.h"
#include "common/cuda/element.h"
#include "common/cuda/launch.h"
#include "common/cuda/upload.h"
#include "ops/cuda/random_walk.h"
#include "ops/cuda/random_walk_maps.h"
#include "ops/cuda/random_walk_series.h"
#include "ops/cuda/random_walk_steps.h"
#include "ops/cuda/random_walk_weights.h"
#include "ops/walk_polynomial.h"

namespace wsss_fast::cuda {
namespace {

// Over the degree; what a walk with respect to cam alone begins with.
template <int kWidth, typename T>
__device__ Pack<T, kWidth> incoming(const WalkTable<T>& table, const WalkMaps& maps,
                                    const WalkSpot& spot) {
    const WalkImages<T>& of = table.of[spot.batch];
    auto grad = maps.template load<kWidth, T>(of, spot, maps.of[spot.batch].grad_out);
    const T inverse = of.inverse_degrees[spot.pixel];
    for (int m = 0; m < kWidth; ++m) grad.value[m] *= inverse;
    return grad;
}

template <int kWidth, typename T>
__global__ void begin_of_cam_kernel(WalkTable<T> table, WalkMaps maps, const T* coefficients) {
    const WalkSpot spot(table, blockIdx.x);
    if (!spot.inside) return;
    const WalkImages<T>& of = table.of[spot.batch];
    Pack<T, kWidth> grad = incoming<kWidth>(table, maps, spot);
    packs_at<kWidth>(of.x)[spot.plane + spot.at] = grad;
    for (int m = 0; m < kWidth; ++m) grad.value[m] *= coefficients[0];
    packs_at<kWidth>(of.sum)[spot.plane + spot.at] = grad;
}

template <int kWidth, typename T>
__global__ void begin_of_both_kernel(WalkTable<T> table, WalkMaps maps,
                                     WalkGradientSteps<T> steps) {
    const WalkSpot spot(table, blockIdx.x);
    if (!spot.inside) return;
    const WalkImages<T>& of = table.of[spot.batch];
    const WalkGradientArrays<T>& gradient = steps.of[spot.batch];
    const std::int64_t at = spot.plane + spot.at;
    packs_at<kWidth>(of.x)[at] = maps.template seed<kWidth>(of, spot);
    Pack<T, kWidth> grad = incoming<kWidth>(table, maps, spot);
    packs_at<kWidth>(gradient.grad)[at] = grad;
    for (int m = 0; m < kWidth; ++m) grad.value[m] *= steps.coefficients[steps.count];
    packs_at<kWidth>(gradient.z)[at] = grad;
    packs_at<kWidth>(gradient.other_z)[at] = {};
    if (spot.pack == 0) gradient.pixels[spot.pixel] = T(0);
}

// The gradients with respect to the seed, cam * (1 - boundary), and what stands beside them.
template <typename T>
struct WalkResults {
    // For each batch: packs of the gradient over the degree.
    const T* z[kBatchesOfTable];
    // [images][height][width] without gaps; null: not wanted.
    T* grad_boundary[kBatchesOfTable];
};

// Of all packs of a pixel: its boundary's gradient is a sum over them.
template <int kWidth, typename T>
__global__ void end_kernel(WalkTable<T> tiles, WalkMaps maps, WalkResults<T> results) {
    WalkSpot spot(tiles, blockIdx.x);
    if (!spot.inside) return;
    const WalkImages<T>& of = tiles.of[spot.batch];
    const WalkMapsOfBatch& arrays = maps.of[spot.batch];
    const T share = maps.share(of, spot);
    const T inverse = of.inverse_degrees[spot.pixel];
    T* const grad_boundary = results.grad_boundary[spot.batch];
    T of_boundary = T(0);
    for (; spot.pack < of.packs; spot.next_pack(of)) {
        auto grad = packs_at<kWidth>(results.z[spot.batch])[spot.plane + spot.at];
        for (int m = 0; m < kWidth; ++m) grad.value[m] /= inverse;
        if (grad_boundary) {
            const auto cam = maps.template load<kWidth, T>(of, spot, arrays.cam);
            for (int m = 0; m < kWidth; ++m) of_boundary -= grad.value[m] * cam.value[m];
        }
        for (int m = 0; m < kWidth; ++m) grad.value[m] *= share;
        maps.store(of, spot, grad, arrays.out);
    }
    if (grad_boundary)
        grad_boundary[(spot.image * of.height + spot.y) * of.width + spot.x] = of_boundary;
}

template <typename T>
__global__ void convert_kernel(const T* from, std::int64_t count, void* to, Element element) {
    const std::int64_t i = thread_number();
    if (i < count) store_element(to, element, i, from[i]);
}

// Some of the images, and their memory.
template <typename T>
class WalkGradient {
  public:
    WalkGradient(const RandomWalkBackwardParams<T>& params, const WalkSeries& series,
                 const std::vector<double>& chebyshev, void* workspace)
        : params_(params), series_(series), chebyshev_(chebyshev), carve_(workspace) {
        table_ = walk_table<T>(params.batches, params.options.radius, series, carve_);
        coefficients_ = carve_.template take<T>(static_cast<std::int64_t>(chebyshev.size()));
        maps_ = walk_maps(params.batches, series, params.element);
        steps_.count = static_cast<std::int64_t>(chebyshev.size()) - 1;
        steps_.coefficients = coefficients_;
        for (int b = 0; b < table_.count; ++b) {
            WalkImages<T>& of = table_.of[b];
            const std::int64_t values = of.pixels() * of.packs * series.width;
            if (!of_both()) {
                of.sum = carve_.template take<T>(values);
                continue;
            }
            WalkGradientArrays<T>& gradient = steps_.of[b];
            gradient.grad = carve_.template take<T>(values);
            gradient.z = carve_.template take<T>(values);
            gradient.other_z = carve_.template take<T>(values);
            gradient.pairs = carve_.template take<T>(table_.neighbours * of.pixels());
            gradient.pixels = carve_.template take<T>(of.pixels());
            const bool converted = bytes_of(params.element) != sizeof(T);
            boundary_[b] = converted ? carve_.template take<T>(of.images * of.height * of.width)
                                     : static_cast<T*>(maps_.of[b].grad_boundary);
        }
        paths_ = carve_.template take<char>(of_both() ? slopes_workspace_bytes(table_, maps_)
                                                      : std::int64_t{0});
    }

    // `of_both`: with respect to the boundary too.
    static WalkNeeds needs(const WalkOptions& options, bool of_both) {
        const int neighbours = path_count(options.radius);
        if (!of_both) return {1, neighbours + 1, 3};
        // Weights and pairs, degree, pixels, what is converted; x, z and other of each, grad.
        return {2, 2 * neighbours + 3, 5};
    }

    std::int64_t bytes() const { return carve_.bytes(); }

    void run() {
        build_weights(table_, maps_, params_.options.beta, params_.place);
        upload_as(chebyshev_, coefficients_, params_.place);
        if (of_both()) {
            walk_back();
        } else {
            walk_of_cam();
        }
    }

  private:
    bool of_both() const { return params_.batches[0].grad_boundary != nullptr; }

    void walk_of_cam() {
        with_width(series_.width, [&](auto width) {
            launch(&begin_of_cam_kernel<decltype(width)::value, T>,
                   Shape{table_.items, kTilePixels}, params_.place, table_, maps_,
                   static_cast<const T*>(coefficients_));
        });
        take_steps(table_, series_.width, WalkSteps<T>{steps_.count, coefficients_}, params_.place);
        WalkResults<T> results{};
        for (int b = 0; b < table_.count; ++b) results.z[b] = table_.of[b].sum;
        end(results);
    }

    void walk_back() {
        with_width(series_.width, [&](auto width) {
            launch(&begin_of_both_kernel<decltype(width)::value, T>,
                   Shape{table_.items, kTilePixels}, params_.place, table_, maps_, steps_);
        });
        for (int b = 0; b < table_.count; ++b) {
            const std::int64_t pairs = table_.neighbours * table_.of[b].pixels();
            fill_bytes(steps_.of[b].pairs, 0, pairs * static_cast<std::int64_t>(sizeof(T)),
                       params_.place);
        }
        take_steps(table_, series_.width, WalkSteps<T>{steps_.count, coefficients_}, params_.place);
        WalkResults<T> results{};
        for (int b = 0; b < table_.count; ++b) {
            // The last but one is the first to be gone back from.
            if (steps_.count % 2 == 0) std::swap(table_.of[b].x, table_.of[b].other_x);
            results.z[b] = steps_.count % 2 == 0 ? steps_.of[b].z : steps_.of[b].other_z;
            results.grad_boundary[b] = boundary_[b];
        }
        take_gradient_steps(by_tiles(table_), series_.width, steps_, params_.place);
        end(results);
        add_slopes(table_, maps_, params_.options.beta, steps_, boundary_, paths_, params_.place);
        if (bytes_of(params_.element) == sizeof(T)) return;
        for (int b = 0; b < table_.count; ++b) {
            const WalkImages<T>& of = table_.of[b];
            const std::int64_t count = of.images * of.height * of.width;
            launch(&convert_kernel<T>, for_each(count), params_.place,
                   static_cast<const T*>(boundary_[b]), count, maps_.of[b].grad_boundary,
                   params_.element);
        }
    }

    void end(const WalkResults<T>& results) {
        const WalkTable<T> tiles = by_tiles(table_);
        with_width(series_.width, [&](auto width) {
            launch(&end_kernel<decltype(width)::value, T>, Shape{tiles.items, kTilePixels},
                   params_.place, tiles, maps_, results);
        });
    }

    const RandomWalkBackwardParams<T>& params_;
    const WalkSeries& series_;
    const std::vector<double>& chebyshev_;
    Carve carve_;
    WalkTable<T> table_;
    WalkMaps maps_;
    WalkGradientSteps<T> steps_{};
    T* coefficients_ = nullptr;
    T* boundary_[kBatchesOfTable] = {};  // gradients with respect to it
    char* paths_ = nullptr;
};

// body(gradient) for the series of a call, which have the workspace one after another.
template <typename T, typename Body>
void for_series(const RandomWalkBackwardParams<T>& params, void* workspace, Body&& body) {
    if (params.batch_count == 0) return;
    const bool of_both = params.batches[0].grad_boundary != nullptr;
    const std::vector<double> chebyshev = walk_gradient_polynomial<T>(params.options);
    const auto all = walk_series<T>(params.batches, params.batch_count, params.options.radius,
                                    WalkGradient<T>::needs(params.options, of_both));
    for (const WalkSeries& series : all) {
        WalkGradient<T> gradient(params, series, chebyshev, workspace);
        body(gradient);
    }
}

}  // namespace

template <typename T>
std::int64_t random_walk_backward_workspace_bytes(const RandomWalkBackwardParams<T>& params) {
    std::int64_t most = 0;
    for_series(params, nullptr,
               [&](WalkGradient<T>& gradient) { most = std::max(most, gradient.bytes()); });
    return most;
}

template <typename T>
void random_walk_backward(const RandomWalkBackwardParams<T>& params) {
    for_series(params, params.workspace, [](WalkGradient<T>& gradient) { gradient.run(); });
}

template std::int64_t random_walk_backward_workspace_bytes(const RandomWalkBackwardParams<float>&);
template std::int64_t random_walk_backward_workspace_bytes(const RandomWalkBackwardParams<double>&);
template void random_walk_backward(const RandomWalkBackwardParams<float>&);
template void random_walk_backward(const RandomWalkBackwardParams<double>&);

}  // namespace wsss_fast::cuda
