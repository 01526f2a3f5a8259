// Two launches of one kernel: the first finds the maxima of the sums and writes nothing else, the
// second makes the same sums anew, divides and writes them. The inputs are small (a sixteenth or
// less of the output's length), so that they stay in the L2 cache: to make the sums twice costs
// arithmetic (about 5 instructions for each sum and size of the inputs), while to keep them until
// the maximum is known would write and read the output once more than it takes, which is its size
// times three in place of one. It also leaves half-precision outputs with one rounding.
//
// A warp makes some rows of some columns. A source row is stretched along x once and kept, as on
// the CPU, while the output rows between it and the next are blended from the two; inputs of one
// size are added as they are loaded. Every sum is made as the CPU makes it, to the bit.
#include <algorithm>
#include <numeric>
#include <type_traits>

#include "common/bilinear_sample.h"
#include "common/cuda/carve.h"
#include "common/cuda/constants.h"
#include "common/cuda/divide.h"
#include "common/cuda/element.h"
#include "common/cuda/launch.h"
#include "common/refuse.h"
#include "ops/cuda/cam_fusion.h"
#include "ops/cuda/finite.h"

namespace wsss_fast::cuda {
namespace {

constexpr int kWarps = kThreads / 32;
constexpr int kRows = 8;           // that a warp makes
constexpr int kColumns = 4;        // that a thread makes, 32 apart
constexpr int kMapsOfLaunch = 96;  // parameters of a kernel are 4 KB at most

// A number >= 0 as an integer of the same order; NaN is above all, and what is negative below 0.
template <typename T>
using Order = std::conditional_t<std::is_same_v<T, double>, long long, int>;

// Inputs of one size: those from begin to end.
template <typename T>
struct SizeGroup {
    std::int32_t height;
    std::int32_t width;
    std::int32_t begin;
    std::int32_t end;
    T scale_y;
    T scale_x;
};

// A target's maps, as many as a launch makes.
template <typename T>
struct Fusion {
    const void* data[kMostInputs];  // the inputs, by size
    SizeGroup<T> groups[kMostInputs];
    std::int64_t map[kMapsOfLaunch];   // n * K + k
    std::int64_t slot[kMapsOfLaunch];  // of its maximum
    void* out[kMapsOfLaunch];          // [height][width]
    std::uint32_t flipped;             // a bit for each input
    std::int32_t group_count;
    bool relu_each;
    bool relu_sum;
    std::int32_t height;  // of the output
    std::int32_t width;
    std::int32_t warps_across;  // of a block, side by side
    std::int32_t tiles_across;  // blocks of a map, side by side
    std::int32_t tiles;         // blocks of a map
    Order<T>* most;             // the maxima, or null where nothing is divided
};

// Cut off below 0; -inf is no number to be cut off.
template <typename T>
__device__ T cut(T value) {
    return value > T(0) ? value : value - value;
}

// What a thread makes: columns of rows beside each other.
template <typename T>
struct Patch {
    T value[kRows][kColumns];
};

// The columns of a thread in the maps of one size.
template <typename T>
struct ColumnSamples {
    std::int32_t low[kColumns];
    std::int32_t high[kColumns];
    T weight[kColumns];
};

template <Element kElement, typename T>
__device__ void stretch(const Fusion<T>& fusion, const SizeGroup<T>& group, std::int64_t map,
                        std::int32_t row, const ColumnSamples<T>& columns, T* out) {
    const std::int64_t begin = (map * group.height + row) * group.width;
    T low[kColumns];
    T high[kColumns];
    for (std::int32_t i = group.begin; i < group.end; ++i) {
        const bool flipped = (fusion.flipped >> i & 1) != 0;
        const auto sample = [&](std::int32_t x) {
            const std::int32_t at = flipped ? group.width - 1 - x : x;
            const T value = load_element<T>(fusion.data[i], kElement, begin + at);
            return fusion.relu_each ? cut(value) : value;
        };
        for (int j = 0; j < kColumns; ++j) {
            const T first = sample(columns.low[j]);
            const T second = sample(columns.high[j]);
            low[j] = i == group.begin ? first : low[j] + first;
            high[j] = i == group.begin ? second : high[j] + second;
        }
    }
    for (int j = 0; j < kColumns; ++j) {
        out[j] = (T(1) - columns.weight[j]) * low[j] + columns.weight[j] * high[j];
    }
}

template <Element kElement, typename T>
__device__ void add_group(const Fusion<T>& fusion, const SizeGroup<T>& group, std::int64_t map,
                          const BilinearSample<T>* rows, std::int32_t x, Patch<T>& sums) {
    ColumnSamples<T> columns;
    for (int j = 0; j < kColumns; ++j) {
        const std::int32_t at = x + 32 * j < fusion.width ? x + 32 * j : fusion.width - 1;
        const auto sample = bilinear_sample(group.width, group.scale_x, at);
        columns.low[j] = sample.low;
        columns.high[j] = sample.weight == T(0) ? sample.low : sample.high;
        columns.weight[j] = sample.weight;
    }
    // The two stretched source rows that the current output row lies between.
    T low[kColumns] = {};
    T high[kColumns] = {};
    std::int32_t low_row = -1;
    std::int32_t high_row = -1;
    for (int begin = 0; begin < kRows;) {
        const BilinearSample<T> next = rows[begin];
        // Once where the next source row follows, twice where some are skipped.
        while (low_row != next.low) {
            for (int j = 0; j < kColumns; ++j) low[j] = high[j];
            low_row = high_row;
            high_row = low_row < next.low ? next.low : next.high;
            stretch<kElement>(fusion, group, map, high_row, columns, high);
        }
        // The output rows between the two. The loop around it is over source rows, so that the code
        // of stretch is there once: with a copy for each output row the registers do not suffice.
        for_constants<0, kRows>([&](int r) {
            const BilinearSample<T> row = rows[r];
            if (row.low != low_row) return;
            const T rest = T(1) - row.weight;
            for (int j = 0; j < kColumns; ++j) {
                // What has no weight may be no number.
                sums.value[r][j] +=
                    row.weight == T(0) ? low[j] : rest * low[j] + row.weight * high[j];
            }
        });
        while (begin < kRows && rows[begin].low == low_row) ++begin;
    }
}

// The greatest of all threads of a block, in its first thread. `of_warps` has room for kWarps.
template <typename Number>
__device__ Number greatest_of_block(Number value, Number* of_warps) {
    for (int step = 16; step > 0; step /= 2) {
        const Number other = __shfl_xor_sync(0xFFFFFFFFu, value, step);
        value = other > value ? other : value;
    }
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = value;
    __syncthreads();
    for (int warp = 0; warp < kWarps; ++warp) {
        value = of_warps[warp] > value ? of_warps[warp] : value;
    }
    return value;
}

// Of the rows of a tile, and of its warps.
template <typename T>
struct Shared {
    BilinearSample<T> rows[kWarps * kRows];
    Order<T> most[kWarps];
};

// Finds the maxima, or with kWrite divides by them and writes.
template <typename T, Element kElement, bool kWrite>
__global__ void __launch_bounds__(kThreads) fuse(Fusion<T> fusion) {
    auto& shared = block_shared<Shared<T>>();
    const Quotient of_map = divide(blockIdx.x, fusion.tiles);
    const Quotient of_tile = divide(of_map.rest, fusion.tiles_across);
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int tile_rows = kWarps / fusion.warps_across * kRows;
    const auto tile_y = static_cast<std::int32_t>(of_tile.whole) * tile_rows;
    const int first_row = warp / fusion.warps_across * kRows;
    const std::int32_t y = tile_y + first_row;
    const auto part =
        static_cast<std::int32_t>(of_tile.rest) * fusion.warps_across + warp % fusion.warps_across;
    const std::int32_t x = part * (32 * kColumns) + lane;
    const bool has_work = y < fusion.height && x - lane < fusion.width;  // the same in a warp

    Patch<T> sums{};
    for (int g = 0; g < fusion.group_count; ++g) {
        const SizeGroup<T>& group = fusion.groups[g];
        if (g > 0) __syncthreads();
        for (int r = static_cast<int>(threadIdx.x); r < tile_rows; r += kThreads) {
            const std::int32_t at = tile_y + r < fusion.height ? tile_y + r : fusion.height - 1;
            shared.rows[r] = bilinear_sample(group.height, group.scale_y, at);
        }
        __syncthreads();
        if (has_work) {
            add_group<kElement>(fusion, group, fusion.map[of_map.whole], shared.rows + first_row, x,
                                sums);
        }
    }

    const std::int64_t slot = fusion.slot[of_map.whole];
    const bool divided = kWrite && fusion.most;
    const T divisor = divided ? detail::bits_as<T>(fusion.most[slot]) + T(1e-5) : T(1);
    Order<T> most = 0;
    for_constants<0, kRows>([&](int r) {
        for (int j = 0; j < kColumns; ++j) {
            if (y + r >= fusion.height || x + 32 * j >= fusion.width) continue;
            T value = sums.value[r][j];
            value = finite_or_nan(fusion.relu_sum ? cut(value) : value);
            if constexpr (kWrite) {
                const std::int64_t row = std::int64_t{y} + r;
                store_element(fusion.out[of_map.whole], kElement, row * fusion.width + x + 32 * j,
                              divided ? value / divisor : value);
            } else {
                const auto order = detail::bits_as<Order<T>>(value);
                most = order > most ? order : most;
            }
        }
    });
    if constexpr (!kWrite) {
        most = greatest_of_block(most, shared.most);
        if (threadIdx.x == 0) atomicMax(fusion.most + slot, most);
    }
}

// Inputs of one size together, sizes in the order of their first input.
template <typename T>
Fusion<T> grouped(const CamFusionParams<T>& params, const CamTarget& target) {
    Fusion<T> fusion{};
    std::vector<std::size_t> left(params.inputs.size());
    std::iota(left.begin(), left.end(), std::size_t{0});
    std::int32_t placed = 0;
    while (!left.empty()) {
        const SizedInput& first = params.inputs[left.front()];
        const auto other = [&](std::size_t i) {
            return params.inputs[i].height != first.height || params.inputs[i].width != first.width;
        };
        SizeGroup<T>& group = fusion.groups[fusion.group_count++];
        group = {first.height,
                 first.width,
                 placed,
                 placed,
                 bilinear_scale<T>(first.height, target.height),
                 bilinear_scale<T>(first.width, target.width)};
        for (const std::size_t i : left) {
            if (other(i)) continue;
            fusion.data[placed] = params.inputs[i].data;
            fusion.flipped |= std::uint32_t{params.inputs[i].flipped} << placed;
            group.end = ++placed;
        }
        left.erase(std::stable_partition(left.begin(), left.end(), other), left.end());
    }
    return fusion;
}

template <typename T>
std::int64_t slots_of(const CamFusionParams<T>& params) {
    const bool of_images = params.normalize == CamNormalize::kImage;
    return static_cast<std::int64_t>(of_images ? params.image_begin.size() : params.maps.size());
}

template <typename T>
Order<T>* carved(Carve& carve, const CamFusionParams<T>& params) {
    if (params.normalize == CamNormalize::kNone) return nullptr;
    return carve.take<Order<T>>(slots_of(params) *
                                static_cast<std::int64_t>(params.targets.size()));
}

template <typename T>
void fuse_target(const CamFusionParams<T>& params, const CamTarget& target, Order<T>* most) {
    // The last tile may reach beyond the output by its own size.
    constexpr std::int32_t kLongest = INT32_MAX - 2048;
    if (std::max(target.crop_height, target.crop_width) > kLongest)
        refuse("size: expected at most ", kLongest, " pixels along an axis on CUDA");
    Fusion<T> fusion = grouped(params, target);
    fusion.relu_each = params.relu == CamRelu::kEach;
    fusion.relu_sum = params.relu == CamRelu::kSum;
    fusion.height = target.crop_height;
    fusion.width = target.crop_width;
    fusion.most = most;
    // As many warps side by side as a row has work for.
    constexpr std::int32_t kWidth = 32 * kColumns;
    fusion.warps_across = 1;
    while (fusion.warps_across < kWarps && fusion.warps_across * kWidth < fusion.width) {
        fusion.warps_across *= 2;
    }
    const auto count = [](std::int64_t length, std::int64_t of_tile) {
        return static_cast<std::int32_t>((length + of_tile - 1) / of_tile);
    };
    fusion.tiles_across = count(fusion.width, fusion.warps_across * kWidth);
    const std::int64_t tiles = std::int64_t{fusion.tiles_across} *
                               count(fusion.height, kWarps / fusion.warps_across * kRows);
    fusion.tiles = static_cast<std::int32_t>(tiles);

    const std::int64_t map_bytes =
        std::int64_t{fusion.height} * fusion.width * bytes_of(params.element);
    std::vector<std::int64_t> slots;
    std::vector<void*> outs;
    for (std::size_t n = 0; n + 1 < params.image_begin.size(); ++n) {
        const std::int64_t begin = params.image_begin[n];
        for (std::int64_t m = begin; m < params.image_begin[n + 1]; ++m) {
            const bool of_images = params.normalize == CamNormalize::kImage;
            slots.push_back(of_images ? static_cast<std::int64_t>(n) : m);
            outs.push_back(static_cast<char*>(target.outputs[n]) + (m - begin) * map_bytes);
        }
    }
    const auto wanted = static_cast<std::int64_t>(params.maps.size());
    const auto launch_all = [&](auto kernel) {
        for (std::int64_t begin = 0; begin < wanted; begin += kMapsOfLaunch) {
            const std::int64_t maps = std::min<std::int64_t>(kMapsOfLaunch, wanted - begin);
            std::copy_n(params.maps.begin() + begin, maps, fusion.map);
            std::copy_n(slots.begin() + begin, maps, fusion.slot);
            std::copy_n(outs.begin() + begin, maps, fusion.out);
            launch(kernel, {maps * tiles}, params.place, fusion);
        }
    };
    with_element<T>(params.element, [&](auto element) {
        constexpr Element kElement = decltype(element)::value;
        if (most) launch_all(&fuse<T, kElement, false>);
        launch_all(&fuse<T, kElement, true>);
    });
}

}  // namespace

template <typename T>
std::int64_t cam_fusion_workspace_bytes(const CamFusionParams<T>& params) {
    Carve carve;
    carved(carve, params);
    return carve.bytes();
}

template <typename T>
void cam_fusion(const CamFusionParams<T>& params) {
    static_assert(sizeof(Fusion<T>) <= 4096);
    Carve carve(params.workspace);
    Order<T>* most = carved(carve, params);
    const std::int64_t slots = slots_of(params);
    if (most) {
        const auto targets = static_cast<std::int64_t>(params.targets.size());
        fill_bytes(most, 0, targets * slots * static_cast<std::int64_t>(sizeof *most),
                   params.place);
    }
    for (const CamTarget& target : params.targets) {
        fuse_target(params, target, most);
        if (most) most += slots;
    }
}

template std::int64_t cam_fusion_workspace_bytes(const CamFusionParams<float>&);
template std::int64_t cam_fusion_workspace_bytes(const CamFusionParams<double>&);
template void cam_fusion(const CamFusionParams<float>&);
template void cam_fusion(const CamFusionParams<double>&);

}  // namespace wsss_fast::cuda
