#include <algorithm>
#include <cmath>

#include "common/cuda/divide.h"
#include "common/cuda/launch.h"
#include "ops/cuda/path_gradient.h"
#include "ops/cuda/path_maxima.h"
#include "ops/cuda/path_pixels.h"
#include "ops/cuda/random_walk_series.h"
#include "ops/cuda/random_walk_weights.h"
#include "ops/random_walk.h"
#include "ops/walk_affinity.h"

namespace wsss_fast::cuda {
namespace {

// affinity ** exponent as on the CPU, to the bit for a whole exponent.
template <typename T>
__device__ T raised(T affinity, double exponent) {
    T power = T(1);
    if (is_multiplied_out(exponent)) {
        T square = affinity;
        for (int rest = static_cast<int>(exponent); rest > 0; rest >>= 1) {
            if (rest & 1) power *= square;
            square *= square;
        }
    } else {
        power = std::pow(affinity, static_cast<T>(exponent));
    }
    return power < kLeastAffinity<T> ? T(0) : power;
}

// A pixel of a row that is filled up, and its paths.
template <typename T>
struct WalkSource {
    std::int64_t image;
    std::int64_t y;
    std::int64_t x;
    std::int64_t weight;  // where that of its first neighbour is

    __device__ WalkSource(const WalkTable<T>& table, const WalkImages<T>& of, std::int64_t number) {
        const Quotient of_row = divide(number, of.stride);
        const Quotient of_image = divide(of_row.whole, of.height);
        image = of_image.whole;
        y = of_image.rest;
        x = of_row.rest;
        weight = image * table.neighbours * of.height * of.stride + y * of.stride + x;
    }

    // body(dy, dx, at, inside): `at` is where what belongs to the path is, `inside` whether the
    // path lies in the image.
    template <typename Body>
    __device__ void for_paths(const WalkTable<T>& table, const WalkImages<T>& of,
                              Body&& body) const {
        std::int64_t at = weight;
        for (int dy = 0; dy <= table.reach; ++dy) {
            for (int dx = dy == 0 ? 1 : -table.extent[dy]; dx <= table.extent[dy]; ++dx) {
                const bool inside =
                    x < of.width && y + dy < of.height && x + dx >= 0 && x + dx < of.width;
                body(dy, dx, at, inside);
                at += of.height * of.stride;
            }
        }
    }

    __device__ T affinity(const WalkImages<T>& of, const BoundaryMaps<T>& boundaries, int dy,
                          int dx) const {
        const std::int64_t own = (image * of.height + y) * of.width + x;
        T most = T(0);
        for_path_pixels(dy, dx, [&](int j, int i) {
            most = std::fmax(most, boundaries.at(own + j * of.width + i));
        });
        return affinity_of(most);
    }
};

template <typename T>
__global__ void weights_kernel(WalkTable<T> table, WalkMaps maps, int batch, double beta) {
    const WalkImages<T>& of = table.of[batch];
    const std::int64_t number = thread_number();
    if (number < kBeforeWeights) of.weights[number - kBeforeWeights] = T(0);
    if (number >= of.pixels()) return;
    const WalkSource<T> source(table, of, number);
    const auto boundaries = maps.template boundaries<T>(batch);
    source.for_paths(table, of, [&](int dy, int dx, std::int64_t at, bool inside) {
        T weight = T(0);
        if (inside) weight = raised(source.affinity(of, boundaries, dy, dx), beta);
        of.weights[at] = weight;
    });
}

template <typename T>
__global__ void degrees_kernel(WalkTable<T> tiles) {
    const WalkSpot spot(tiles, blockIdx.x);
    if (!spot.inside) return;
    const WalkImages<T>& of = tiles.of[spot.batch];
    T degree = T(0);
    const auto add = [&](int, int, std::int64_t at) { degree += of.weights[at]; };
    for_neighbours_below<0>(tiles, spot, add);
    for_neighbours_above<0>(tiles, spot, add);
    of.inverse_degrees[spot.pixel] = T(1) / (degree + T(1));
}

// From the gradient of the weights to that of the paths' largest boundary, in place.
template <typename T>
__global__ void slopes_kernel(WalkTable<T> table, WalkMaps maps, int batch, double beta,
                              WalkGradientArrays<T> gradient) {
    const WalkImages<T>& of = table.of[batch];
    const std::int64_t number = thread_number();
    if (number >= of.pixels()) return;
    const WalkSource<T> source(table, of, number);
    const auto boundaries = maps.template boundaries<T>(batch);
    const T* pixel = gradient.pixels + number;
    source.for_paths(table, of, [&](int dy, int dx, std::int64_t at, bool inside) {
        T grad = T(0);
        if (inside) {
            const T power = raised(source.affinity(of, boundaries, dy, dx), beta - 1);
            // At a wall the power of an exponent below 0 is infinite.
            const T slope = power == static_cast<T>(INFINITY) ? T(0) : power;
            const T pair = gradient.pairs[at] - pixel[0] - pixel[dy * of.stride + dx];
            grad = static_cast<T>(-beta) * slope * pair;
        }
        gradient.pairs[at] = grad;
    });
}

// All but what goes in and out.
template <typename T>
PathGradientParams<T> paths_of(const WalkTable<T>& table, const WalkMaps& maps, int batch) {
    const WalkImages<T>& of = table.of[batch];
    PathGradientParams<T> params{};
    params.sources = {of.images, of.height, of.width, of.height, 0, of.width, table.reach + 1};
    params.boundary = maps.of[batch].boundary;
    params.element = maps.element;
    params.stride = of.stride;
    return params;
}

}  // namespace

template <typename T>
void build_weights(const WalkTable<T>& table, const WalkMaps& maps, double beta,
                   const Place& place) {
    for (int b = 0; b < table.count; ++b) {
        const std::int64_t threads = std::max(table.of[b].pixels(), kBeforeWeights);
        launch(&weights_kernel<T>, for_each(threads), place, table, maps, b, beta);
    }
    const WalkTable<T> tiles = by_tiles(table);
    launch(&degrees_kernel<T>, Shape{tiles.items, kTilePixels}, place, tiles);
}

template <typename T>
std::int64_t slopes_workspace_bytes(const WalkTable<T>& table, const WalkMaps& maps) {
    std::int64_t most = 0;
    for (int b = 0; b < table.count; ++b)
        most = std::max(most, path_gradient_workspace_bytes(paths_of(table, maps, b)));
    return most;
}

template <typename T>
void add_slopes(const WalkTable<T>& table, const WalkMaps& maps, double beta,
                const WalkGradientSteps<T>& steps, T* const* grad_boundary, void* workspace,
                const Place& place) {
    if (beta == 0) return;  // all affinities are 1
    for (int b = 0; b < table.count; ++b) {
        launch(&slopes_kernel<T>, for_each(table.of[b].pixels()), place, table, maps, b, beta,
               steps.of[b]);
        PathGradientParams<T> paths = paths_of(table, maps, b);
        paths.grad_maxima = steps.of[b].pairs;
        paths.grad_boundary = grad_boundary[b];
        paths.workspace = workspace;
        paths.place = place;
        path_gradient(paths);
    }
}

template void build_weights(const WalkTable<float>&, const WalkMaps&, double, const Place&);
template void build_weights(const WalkTable<double>&, const WalkMaps&, double, const Place&);
template std::int64_t slopes_workspace_bytes(const WalkTable<float>&, const WalkMaps&);
template std::int64_t slopes_workspace_bytes(const WalkTable<double>&, const WalkMaps&);
template void add_slopes(const WalkTable<float>&, const WalkMaps&, double,
                         const WalkGradientSteps<float>&, float* const*, void*, const Place&);
template void add_slopes(const WalkTable<double>&, const WalkMaps&, double,
                         const WalkGradientSteps<double>&, double* const*, void*, const Place&);

}  // namespace wsss_fast::cuda
