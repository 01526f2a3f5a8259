#include <algorithm>
#include <cstdint>
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

// What a walk begins with, and its share in the sum.
template <int kWidth, typename T>
__global__ void begin_kernel(WalkTable<T> table, WalkMaps maps, const T* coefficients) {
    const WalkSpot spot(table, blockIdx.x);
    if (!spot.inside) return;
    const WalkImages<T>& of = table.of[spot.batch];
    const std::int64_t at = spot.plane + spot.at;
    Pack<T, kWidth> seed = maps.template seed<kWidth>(of, spot);
    packs_at<kWidth>(of.x)[at] = seed;
    if (!of.sum) return;
    for (int m = 0; m < kWidth; ++m) seed.value[m] *= coefficients[0];
    packs_at<kWidth>(of.sum)[at] = seed;
}

template <int kWidth, typename T>
__global__ void end_kernel(WalkTable<T> table, WalkMaps maps, bool in_other_x) {
    const WalkSpot spot(table, blockIdx.x);
    if (!spot.inside) return;
    const WalkImages<T>& of = table.of[spot.batch];
    const T* result = of.sum ? of.sum : in_other_x ? of.other_x : of.x;
    maps.store(of, spot, packs_at<kWidth>(result)[spot.plane + spot.at], maps.of[spot.batch].out);
}

// Some of the images, and their memory.
template <typename T>
class Walk {
  public:
    Walk(const RandomWalkParams<T>& params, const WalkSeries& series,
         const std::vector<double>& chebyshev, void* workspace)
        : params_(params), series_(series), chebyshev_(chebyshev), carve_(workspace) {
        table_ = walk_table<T>(params.batches, params.options.radius, series, carve_);
        if (params.options.method == WalkMethod::kChebyshev) {
            for (int b = 0; b < table_.count; ++b) {
                WalkImages<T>& of = table_.of[b];
                of.sum = carve_.template take<T>(of.pixels() * of.packs * series.width);
            }
            coefficients_ = carve_.template take<T>(static_cast<std::int64_t>(chebyshev_.size()));
        }
        maps_ = walk_maps(params.batches, series, params.element);
    }

    static WalkNeeds needs(const WalkOptions& options) {
        // Weights and degree; x, other_x, the sum.
        return {1, path_count(options.radius) + 1, 3};
    }

    std::int64_t bytes() const { return carve_.bytes(); }

    void run() {
        const WalkOptions& options = params_.options;
        build_weights(table_, maps_, options.beta, params_.place);
        WalkSteps<T> steps{options.steps, nullptr};
        if (options.method == WalkMethod::kChebyshev) {
            upload_as(chebyshev_, coefficients_, params_.place);
            steps = {static_cast<std::int64_t>(chebyshev_.size()) - 1, coefficients_};
        }
        with_width(series_.width, [&](auto width) {
            launch(&begin_kernel<decltype(width)::value, T>, Shape{table_.items, kTilePixels},
                   params_.place, table_, maps_, steps.coefficients);
        });
        take_steps(table_, series_.width, steps, params_.place);
        with_width(series_.width, [&](auto width) {
            launch(&end_kernel<decltype(width)::value, T>, Shape{table_.items, kTilePixels},
                   params_.place, table_, maps_, steps.count % 2 == 1);
        });
    }

  private:
    const RandomWalkParams<T>& params_;
    const WalkSeries& series_;
    const std::vector<double>& chebyshev_;
    Carve carve_;
    WalkTable<T> table_;
    WalkMaps maps_;
    T* coefficients_ = nullptr;
};

// body(walk) for the series of a call, which have the workspace one after another.
template <typename T, typename Body>
void for_series(const RandomWalkParams<T>& params, void* workspace, Body&& body) {
    std::vector<double> chebyshev;
    if (params.options.method == WalkMethod::kChebyshev)
        chebyshev = walk_polynomial(params.options);
    const auto all = walk_series<T>(params.batches, params.batch_count, params.options.radius,
                                    Walk<T>::needs(params.options));
    for (const WalkSeries& series : all) {
        Walk<T> walk(params, series, chebyshev, workspace);
        body(walk);
    }
}

}  // namespace

template <typename T>
std::int64_t random_walk_workspace_bytes(const RandomWalkParams<T>& params) {
    std::int64_t most = 0;
    for_series(params, nullptr, [&](Walk<T>& walk) { most = std::max(most, walk.bytes()); });
    return most;
}

template <typename T>
void random_walk(const RandomWalkParams<T>& params) {
    for_series(params, params.workspace, [](Walk<T>& walk) { walk.run(); });
}

template std::int64_t random_walk_workspace_bytes(const RandomWalkParams<float>&);
template std::int64_t random_walk_workspace_bytes(const RandomWalkParams<double>&);
template void random_walk(const RandomWalkParams<float>&);
template void random_walk(const RandomWalkParams<double>&);

}  // namespace wsss_fast::cuda
