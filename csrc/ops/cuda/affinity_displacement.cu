#include <cmath>
#include <type_traits>

#include "ops/affinity_displacement.h"
#include "ops/cuda/affinity_displacement.h"
#include "ops/cuda/affinity_displacement_pairs.h"

namespace wsss_fast::cuda {
namespace {

// A product of many positive numbers: mantissa * 2^exponent. As on the CPU, one logarithm of it is
// closer to the sum of all their logarithms than that sum in T, and much cheaper.
template <typename T>
struct Product {
    T mantissa = T(1);
    int exponent = 0;

    // To a mantissa in [1, 2); NaN stays.
    __device__ void normalise() {
        using F = PairFields<T>;
        using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
        const auto bits = detail::bits_as<Bits>(mantissa);
        if (mantissa != mantissa) return;
        exponent += static_cast<int>(bits >> F::kExponent) - static_cast<int>(F::kBias);
        const Bits fraction = bits & ((Bits{1} << F::kExponent) - 1);
        mantissa = detail::bits_as<T>(fraction | (Bits{F::kBias} << F::kExponent));
    }
};

// What some pairs come to.
struct PairTotals {
    double sums[kAffinityDisplacementSums];
    long long counts[kAffinityDisplacementCounts];

    __device__ void add(const PairTotals& other) {
        for (int k = 0; k < kAffinityDisplacementSums; ++k) sums[k] += other.sums[k];
        for (int k = 0; k < kAffinityDisplacementCounts; ++k) counts[k] += other.counts[k];
    }
};

struct WarpTotals {
    PairTotals of_warp[kThreads / 32];
};

// The total of the block, which its first thread gets; always added up in the same order. All
// threads of the block have to come here, once.
__device__ PairTotals total_of_block(PairTotals own) {
    for (int step = 16; step > 0; step /= 2) {
        PairTotals other;
        for (int k = 0; k < kAffinityDisplacementSums; ++k)
            other.sums[k] = __shfl_xor_sync(0xFFFFFFFFu, own.sums[k], step);
        for (int k = 0; k < kAffinityDisplacementCounts; ++k)
            other.counts[k] = __shfl_xor_sync(0xFFFFFFFFu, own.counts[k], step);
        own.add(other);
    }
    auto& warps = block_shared<WarpTotals>();
    if (threadIdx.x % 32 == 0) warps.of_warp[threadIdx.x / 32] = own;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < kThreads / 32; ++warp) own.add(warps.of_warp[warp]);
    }
    return own;
}

// Of the pairs that begin in one pixel: all those of equal label are of one kind.
template <typename T>
struct PixelTotals {
    Product<T> equal;
    Product<T> different;
    int equal_count = 0;
    int different_count = 0;
    T error = T(0);
};

template <typename T>
__device__ PairTotals totals_of(const PairSources<T>& pixels,
                                const PixelTotals<T> (&of)[kPathRows]) {
    double mantissa[kAffinityDisplacementCounts] = {1, 1, 1};
    int exponent[kAffinityDisplacementCounts] = {};
    PairTotals totals{};
    for (int i = 0; i < kPathRows; ++i) {
        const auto count = [&](int kind, const Product<T>& product, int pairs, bool mine) {
            mantissa[kind] *= mine ? static_cast<double>(product.mantissa) : 1.0;
            exponent[kind] += mine ? product.exponent : 0;
            totals.counts[kind] += mine ? pairs : 0;
        };
        const bool background = pixels.label[i] == kBackgroundLabel;
        count(kBackgroundPairs, of[i].equal, of[i].equal_count, background);
        count(kForegroundPairs, of[i].equal, of[i].equal_count, !background);
        count(kDifferentPairs, of[i].different, of[i].different_count, true);
        const auto error = static_cast<double>(of[i].error);
        totals.sums[kBackgroundDisplacement] += background ? error : 0.0;
        totals.sums[kForegroundDisplacement] += background ? 0.0 : error;
    }
    constexpr double kLogTwo = 0.693147180559945309417232121458;
    for (int kind = 0; kind < kAffinityDisplacementCounts; ++kind)
        totals.sums[kind] = -(std::log(mantissa[kind]) + exponent[kind] * kLogTwo);
    return totals;
}

template <int kRoom, typename T>
__global__ void sum_pairs(PathTiles tiles, PairMaps<T> maps, PairTotals* of_blocks) {
    const PathSources& sources = tiles.sources;
    const PathThread thread(tiles);
    const auto boundary =
        boundary_of<kRoom>(sources, BoundaryMaps<T>{maps.boundary, kElementOf<T>}, thread);
    const PairSources<T> pixels(sources, maps, thread);
    PixelTotals<T> of[kPathRows];
    int factors = 0;
    for_paths(sources.radius, thread.first_path, thread.last_path, [&](int, int dy, int dx) {
        std::int32_t other[kPathRows];
        if (!pixels.neighbours(maps, dy, dx, other)) return;
        T most[kPathRows];
        path_maxima(boundary, dy, dx, most);
        for (int i = 0; i < kPathRows; ++i) {
            if (other[i] == kNoLabel) continue;
            const T affinity = affinity_of(most[i]);
            if (other[i] == pixels.label[i]) {
                const Pack<T, 2> error = pixels.error(maps, dy, dx, i);
                of[i].error += std::fabs(error.value[0]) + std::fabs(error.value[1]);
                of[i].equal.mantissa *= affinity + kPairEpsilon<T>;
                ++of[i].equal_count;
            } else {
                of[i].different.mantissa *= kOneAndPairEpsilon<T> - affinity;
                ++of[i].different_count;
            }
        }
        if (++factors < PairFields<T>::kFactors) return;
        factors = 0;
        for (int i = 0; i < kPathRows; ++i) {
            of[i].equal.normalise();
            of[i].different.normalise();
        }
    });
    for (int i = 0; i < kPathRows; ++i) {
        of[i].equal.normalise();
        of[i].different.normalise();
    }
    const PairTotals total = total_of_block(totals_of(pixels, of));
    if (threadIdx.x == 0) of_blocks[blockIdx.x] = total;
}

// By one block.
template <typename T>
__global__ void sum_blocks(const PairTotals* of_blocks, std::int64_t blocks, T* sums,
                           std::int64_t* counts) {
    PairTotals own{};
    for (std::int64_t block = threadIdx.x; block < blocks; block += kThreads)
        own.add(of_blocks[block]);
    const PairTotals total = total_of_block(own);
    if (threadIdx.x != 0) return;
    for (int k = 0; k < kAffinityDisplacementSums; ++k) sums[k] = static_cast<T>(total.sums[k]);
    for (int k = 0; k < kAffinityDisplacementCounts; ++k) counts[k] = total.counts[k];
}

// What the workspace is cut into.
template <typename T>
struct Workspace {
    PairMaps<T> maps;
    PairTotals* of_blocks;
    std::int64_t bytes;

    Workspace(const PairInputs& inputs, void* memory) {
        Carve carve(memory);
        maps = carve_pair_maps<T>(carve, inputs);
        of_blocks = carve.take<PairTotals>(PathTiles(pair_sources(inputs)).blocks());
        bytes = carve.bytes();
    }
};

}  // namespace

template <typename T>
std::int64_t affinity_displacement_workspace_bytes(const PairInputs& inputs) {
    return Workspace<T>(inputs, nullptr).bytes;
}

template <typename T>
void affinity_displacement(const AffinityDisplacementParams<T>& params) {
    const PairInputs& inputs = params.inputs;
    const Workspace<T> workspace(inputs, params.workspace);
    prepare_pairs(inputs, workspace.maps, params.place);
    const PathTiles tiles(pair_sources(inputs));
    with_room<kBoundaryRoom<T>>(inputs.radius, [&](auto room) {
        launch(&sum_pairs<decltype(room)::value, T>, Shape{tiles.blocks()}, params.place, tiles,
               workspace.maps, workspace.of_blocks);
    });
    launch(&sum_blocks<T>, Shape{1}, params.place, workspace.of_blocks, tiles.blocks(), params.sums,
           params.counts);
}

template std::int64_t affinity_displacement_workspace_bytes<float>(const PairInputs&);
template std::int64_t affinity_displacement_workspace_bytes<double>(const PairInputs&);
template void affinity_displacement(const AffinityDisplacementParams<float>&);
template void affinity_displacement(const AffinityDisplacementParams<double>&);

}  // namespace wsss_fast::cuda
