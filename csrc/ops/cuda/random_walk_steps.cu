// As on the CPU a step has the form current + sum of weight * (neighbour - current) / degree: its
// errors are relative to the differences, and a constant stays what it is to the bit. Sums run in
// the CPU's order, so the bits are the CPU's.
//
// Cost, at radius 5: a step loads 34 weights of a pixel twice, its own and those that the pixels
// above keep for it, 272 bytes for each of a pixel's packs, and of each map 4 bytes for each of the
// tile's pixels with its rim (640 for 256), then 68 of them from shared memory. At 94 x 125 the
// weights of a batch of 16 are 26 MB, which stay in an H200's second cache; at its 5.5 TB/s a step
// of the batch takes 9 us, and 70 of them 0.04 ms an image.
#include <algorithm>
#include <type_traits>

#include "common/cuda/barriers.h"
#include "common/cuda/launch.h"
#include "common/cuda/occupancy.h"
#include "ops/cuda/random_walk_steps.h"

namespace wsss_fast::cuda {
namespace {

constexpr int kSharedBytes = 48 * 1024;  // what a block has on every device

// With more items for each block a launch a step costs little beside them, and the device deals
// them out better than a fixed share of them.
constexpr std::int64_t kMostRounds = 8;

constexpr int rim_pixels(int reach) { return (kTileWidth + 2 * reach) * (kTileHeight + 2 * reach); }

template <typename T>
constexpr int most_width(int reach, int arrays) {
    int width = 4;
    while (width > 1 && rim_pixels(reach) * arrays * width * int{sizeof(T)} > kSharedBytes)
        width /= 2;
    return width;
}

// Kernels are compiled for the radius that walks have as a rule, and, with 0, for any; for double,
// which is for checks, for any alone.
constexpr int kUsualRadius = 5;
template <typename T>
constexpr bool kHasUsual = std::is_same_v<T, float>;

constexpr int most_reach(int radius) { return radius > 0 ? radius - 1 : kMostReach; }

// The packs of a tile's pixels and of those around them, up to a reach: 0 outside of the image.
template <int kRadius, int kWidth, typename T>
struct Surroundings {
    Pack<T, kWidth> pack[rim_pixels(most_reach(kRadius))];

    __device__ void load(const WalkImages<T>& of, const WalkSpot& spot, int reach, const T* packs) {
        const Pack<T, kWidth>* plane = packs_at<kWidth>(packs) + spot.plane;
        const int pitch = kTileWidth + 2 * reach;
        const int count = pitch * (kTileHeight + 2 * reach);
        for (int i = static_cast<int>(threadIdx.x); i < count; i += kTilePixels) {
            const std::int64_t y = spot.tile_y - reach + i / pitch;
            const std::int64_t x = spot.tile_x - reach + i % pitch;
            const bool there = y >= 0 && y < of.height && x >= 0 && x < of.width;
            pack[i] = there ? plane[y * of.stride + x] : Pack<T, kWidth>{};
        }
    }
};

// This thread's pixel in the surroundings of its tile.
__device__ int place_in_tile(int reach) {
    const int y = static_cast<int>(threadIdx.x) / kTileWidth;
    const int x = static_cast<int>(threadIdx.x) % kTileWidth;
    return (y + reach) * (kTileWidth + 2 * reach) + x + reach;
}

template <int kWidth, typename T>
__device__ void add_flow(T weight, const Pack<T, kWidth>& there, const Pack<T, kWidth>& own,
                         Pack<T, kWidth>& flow) {
    for (int m = 0; m < kWidth; ++m) flow.value[m] += weight * (there.value[m] - own.value[m]);
}

// This block's share of the items, one after another.
template <typename Body>
__device__ void for_items(std::int64_t items, Body&& body) {
    const std::int64_t begin = items * blockIdx.x / gridDim.x;
    const std::int64_t end = items * (blockIdx.x + 1) / gridDim.x;
    for (std::int64_t item = begin; item < end; ++item) {
        __syncthreads();  // shared memory is free of the item before
        body(item);
    }
}

template <int kRadius, int kWidth, typename T>
__device__ void step_item(const WalkTable<T>& table, const WalkSteps<T>& steps, std::int64_t k,
                          std::int64_t item) {
    using P = Pack<T, kWidth>;
    const WalkSpot spot(table, item);
    const WalkImages<T>& of = table.of[spot.batch];
    auto& around = block_shared<Surroundings<kRadius, kWidth, T>>();
    around.load(of, spot, table.reach, k % 2 == 0 ? of.x : of.other_x);
    __syncthreads();
    if (!spot.inside) return;

    const int here = place_in_tile(table.reach);
    const int pitch = kTileWidth + 2 * table.reach;
    const P own = around.pack[here];
    P flow{};
    for_neighbours_below<kRadius>(table, spot, [&](int dy, int dx, std::int64_t at) {
        add_flow(of.weights[at], around.pack[here + dy * pitch + dx], own, flow);
    });
    for_neighbours_above<kRadius>(table, spot, [&](int dy, int dx, std::int64_t at) {
        add_flow(of.weights[at], around.pack[here - dy * pitch - dx], own, flow);
    });
    const T inverse = of.inverse_degrees[spot.pixel];
    P next;
    for (int m = 0; m < kWidth; ++m) next.value[m] = own.value[m] + flow.value[m] * inverse;
    P* to = packs_at<kWidth>(k % 2 == 0 ? of.other_x : of.x) + spot.plane + spot.at;
    if (steps.coefficients && k > 0) {
        const P before = *to;
        for (int m = 0; m < kWidth; ++m) next.value[m] = T(2) * next.value[m] - before.value[m];
    }
    *to = next;
    if (!of.sum) return;
    P* sum = packs_at<kWidth>(of.sum) + spot.plane + spot.at;
    P total = *sum;
    const T coefficient = steps.coefficients[k + 1];
    for (int m = 0; m < kWidth; ++m) total.value[m] += coefficient * next.value[m];
    *sum = total;
}

// Steps first .. last - 1; more than one only where the whole grid runs together.
template <int kRadius, int kWidth, typename T>
__global__ void step_kernel(WalkTable<T> table, WalkSteps<T> steps, std::int64_t first,
                            std::int64_t last) {
    for (std::int64_t k = first; k < last; ++k) {
        if (k > first) grid_barrier();
        for_items(table.items,
                  [&](std::int64_t item) { step_item<kRadius, kWidth>(table, steps, k, item); });
    }
}

template <int kRadius, int kWidth, typename T>
struct GradientSurroundings {
    Surroundings<kRadius, kWidth, T> x;
    Surroundings<kRadius, kWidth, T> z;
};

template <int kRadius, int kWidth, typename T>
__device__ void gradient_item(const WalkTable<T>& table, const WalkGradientSteps<T>& steps,
                              std::int64_t j, std::int64_t item) {
    using P = Pack<T, kWidth>;
    const std::int64_t k = steps.count - 1 - j;  // the polynomial that x is, and z goes to
    const T scale = k == 0 ? T(1) : T(2);
    WalkSpot spot(table, item);
    const WalkImages<T>& of = table.of[spot.batch];
    const WalkGradientArrays<T>& gradient = steps.of[spot.batch];
    auto& around = block_shared<GradientSurroundings<kRadius, kWidth, T>>();
    const int here = place_in_tile(table.reach);
    const int pitch = kTileWidth + 2 * table.reach;
    // All packs of a pixel, since all of them add to the same pairs.
    for (; spot.pack < of.packs; spot.next_pack(of)) {
        if (spot.pack > 0) __syncthreads();
        around.x.load(of, spot, table.reach, j % 2 == 0 ? of.x : of.other_x);
        around.z.load(of, spot, table.reach, j % 2 == 0 ? gradient.z : gradient.other_z);
        __syncthreads();
        if (!spot.inside) continue;

        const P own_x = around.x.pack[here];
        const P own_z = around.z.pack[here];
        P flow_x{};
        P flow_z{};
        for_neighbours_below<kRadius>(table, spot, [&](int dy, int dx, std::int64_t at) {
            const T weight = of.weights[at];
            const int there = here + dy * pitch + dx;
            const P other_x = around.x.pack[there];
            const P other_z = around.z.pack[there];
            T sum = gradient.pairs[at];
            for (int m = 0; m < kWidth; ++m) {
                const T x = other_x.value[m] - own_x.value[m];
                const T z = other_z.value[m] - own_z.value[m];
                flow_x.value[m] += weight * x;
                flow_z.value[m] += weight * z;
                sum -= scale * (x * z);
            }
            gradient.pairs[at] = sum;
        });
        for_neighbours_above<kRadius>(table, spot, [&](int dy, int dx, std::int64_t at) {
            const T weight = of.weights[at];
            const int there = here - dy * pitch - dx;
            add_flow(weight, around.x.pack[there], own_x, flow_x);
            add_flow(weight, around.z.pack[there], own_z, flow_z);
        });
        const T inverse = of.inverse_degrees[spot.pixel];
        const T coefficient = steps.coefficients[k];
        const std::int64_t at = spot.plane + spot.at;
        P* to_x = packs_at<kWidth>(j % 2 == 0 ? of.other_x : of.x) + at;
        P* to_z = packs_at<kWidth>(j % 2 == 0 ? gradient.other_z : gradient.z) + at;
        P next_x = *to_x;
        P next_z = *to_z;
        const P grad = packs_at<kWidth>(gradient.grad)[at];
        T sum = gradient.pixels[spot.pixel];
        for (int m = 0; m < kWidth; ++m) {
            const T moved_x = flow_x.value[m] * inverse;
            const T moved_z = own_z.value[m] + flow_z.value[m] * inverse;
            next_x.value[m] = scale * (own_x.value[m] + moved_x) - next_x.value[m];
            next_z.value[m] = scale * moved_z - next_z.value[m] + coefficient * grad.value[m];
            sum += scale * (own_z.value[m] * moved_x);
        }
        *to_x = next_x;
        *to_z = next_z;
        gradient.pixels[spot.pixel] = sum;
    }
}

template <int kRadius, int kWidth, typename T>
__global__ void gradient_kernel(WalkTable<T> table, WalkGradientSteps<T> steps, std::int64_t first,
                                std::int64_t last) {
    for (std::int64_t j = first; j < last; ++j) {
        if (j > first) grid_barrier();
        for_items(table.items, [&](std::int64_t item) {
            gradient_item<kRadius, kWidth>(table, steps, j, item);
        });
    }
}

template <typename T, typename Steps>
void launch_steps(void (*kernel)(WalkTable<T>, Steps, std::int64_t, std::int64_t),
                  const WalkTable<T>& table, const Steps& steps, const Place& place) {
    if (table.items == 0 || steps.count == 0) return;
    const std::int64_t most = blocks_at_once(kernel, kTilePixels, place);
    const std::int64_t rounds = most > 0 ? (table.items + most - 1) / most : kMostRounds + 1;
    if (rounds <= kMostRounds) {
        // As few blocks as need no more rounds: their shares are then even.
        const std::int64_t blocks = (table.items + rounds - 1) / rounds;
        launch(kernel, Shape{blocks, kTilePixels, Together::kGrid}, place, table, steps,
               std::int64_t{0}, steps.count);
        return;
    }
    for (std::int64_t k = 0; k < steps.count; ++k)
        launch(kernel, Shape{table.items, kTilePixels}, place, table, steps, k, k + 1);
}

// run(radius, width): as constants, those to compile for. No kernel is made for packs too wide.
template <int kArrays, typename T, typename Run>
void with_radius_and_width(int reach, int width, Run&& run) {
    const auto of_radius = [&](auto radius) {
        with_width(width, [&](auto w) {
            constexpr int kReach = most_reach(decltype(radius)::value);
            if constexpr (decltype(w)::value <= most_width<T>(kReach, kArrays)) run(radius, w);
        });
    };
    if constexpr (kHasUsual<T>) {
        if (reach == most_reach(kUsualRadius))
            return of_radius(std::integral_constant<int, kUsualRadius>{});
    }
    of_radius(std::integral_constant<int, 0>{});
}

}  // namespace

template <typename T>
int most_of_pack(int reach, int arrays) {
    const bool usual = kHasUsual<T> && reach == most_reach(kUsualRadius);
    return most_width<T>(usual ? reach : kMostReach, arrays);
}

template <typename T>
void take_steps(const WalkTable<T>& table, int width, const WalkSteps<T>& steps,
                const Place& place) {
    with_radius_and_width<1, T>(table.reach, width, [&](auto radius, auto w) {
        launch_steps(&step_kernel<decltype(radius)::value, decltype(w)::value, T>, table, steps,
                     place);
    });
}

template <typename T>
void take_gradient_steps(const WalkTable<T>& table, int width, const WalkGradientSteps<T>& steps,
                         const Place& place) {
    with_radius_and_width<2, T>(table.reach, width, [&](auto radius, auto w) {
        launch_steps(&gradient_kernel<decltype(radius)::value, decltype(w)::value, T>, table, steps,
                     place);
    });
}

template int most_of_pack<float>(int, int);
template int most_of_pack<double>(int, int);
template void take_steps(const WalkTable<float>&, int, const WalkSteps<float>&, const Place&);
template void take_steps(const WalkTable<double>&, int, const WalkSteps<double>&, const Place&);
template void take_gradient_steps(const WalkTable<float>&, int, const WalkGradientSteps<float>&,
                                  const Place&);
template void take_gradient_steps(const WalkTable<double>&, int, const WalkGradientSteps<double>&,
                                  const Place&);

}  // namespace wsss_fast::cuda
