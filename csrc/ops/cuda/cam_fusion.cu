// Two launches of one kernel: the first finds the maxima of the sums and writes nothing else, the
// second makes the same sums anew, divides and writes them. The inputs are small (a sixteenth or
// less of the output's length), so that they stay in the L2 cache: to make the sums twice costs
// arithmetic (about 6 instructions for each sum and size of the inputs), while to keep them until
// the maximum is known would write and read the output once more than it takes, which is its size
// times three in place of one. It also leaves half-precision outputs with one rounding.
//
// A block makes a tile of the output, from one size after the other (cam_sums.h). The source rows
// that the tile lies between are stretched along x into shared memory, once for all of its rows; a
// warp then goes down its rows and blends them from two stretched ones, which it keeps in registers
// until the next row has others. Where samples lie is found out once for two maps, of which a
// block makes the same tile. Every sum is made as the CPU makes it, to the bit: with a fused
// multiply-add it would be 2 instructions for each sum and size in place of 4. On an H200 the two
// launches take 0.29 and 0.42 ms for 640 maps of 375 x 500 from 8 inputs each; memory would allow
// 0.12.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "common/bilinear_sample.h"
#include "common/cuda/carve.h"
#include "common/cuda/constants.h"
#include "common/cuda/divide.h"
#include "common/cuda/divisor.h"
#include "common/cuda/element.h"
#include "common/cuda/launch.h"
#include "common/refuse.h"
#include "ops/cuda/cam_fusion.h"
#include "ops/cuda/cam_sums.h"

namespace wsss_fast::cuda {
namespace {

constexpr int kWarps = kThreads / 32;
constexpr int kRows = 8;     // that a warp makes
constexpr int kColumns = 4;  // that a thread makes, 32 apart
constexpr int kTileRows = kWarps * kRows;
constexpr int kTileColumns = 32 * kColumns;
constexpr int kStretched = 24;      // rows
constexpr int kKept = 4;            // sizes whose samples a block keeps for its next map
constexpr int kMapsOfLaunch = 224;  // parameters of a kernel are 4 KB at most

// A number >= 0 as an integer of the same order; NaN is above all, and what is negative below 0.
template <typename T>
using Order = std::conditional_t<std::is_same_v<T, double>, long long, int>;

// How a map of one size becomes the output.
template <typename T>
struct Resampling {
    std::int64_t offset;  // of the map within the sums of a wanted map
    std::int32_t height;
    std::int32_t width;
    T scale_y;
    T scale_x;
    // Rows of a tile that are made at a time: as many as there is room for their source rows. Where
    // not even those of a warp have it, the two that each of its rows takes are stretched.
    std::int32_t at_once;
    bool pairs;
};

// A target's maps, as many as a launch makes.
template <typename T>
struct Fusion {
    Resampling<T> sizes[kMostInputs];
    void* out[kMapsOfLaunch];          // [height][width]
    std::int32_t slot[kMapsOfLaunch];  // of its maximum
    const T* sums;                     // of these maps
    std::int64_t elements;             // sums of a map
    std::int32_t maps;                 // of the launch
    std::int32_t maps_of_block;
    Order<T>* most;  // the maxima, or null where nothing is divided
    std::int32_t size_count;
    std::int32_t height;  // of the output
    std::int32_t width;
    std::int32_t tiles_across;  // blocks of a map, side by side
    std::int32_t tiles;         // blocks of a map
    bool relu_sum;
};

// What a thread makes: columns of rows beside each other.
template <typename T>
struct Patch {
    T value[kRows][kColumns];
};

// How an output row is made of two stretched ones.
template <typename T>
struct alignas(2 * sizeof(T)) RowBlend {
    std::int32_t pair;  // the first in the lower 16 bits, the second above
    T weight;
};

// Where a tile takes its samples in the maps of one size.
template <typename T>
struct TileSamples {
    struct alignas(16) Column {
        std::int32_t low;
        std::int32_t high;
        T weight;
    };
    struct Source {  // of rows that are made at a time
        std::int32_t first;
        std::int32_t count;
    };

    Column columns[kTileColumns];
    RowBlend<T> rows[kTileRows];
    Source sources[kTileRows / kRows];  // by their first row / kRows
};

template <typename T>
struct Shared {
    TileSamples<T> samples[kKept];
    T stretched[kStretched * kTileColumns];
    Order<T> most[kWarps];
};

// The sample of a position, or of the last one beyond the end. What has no weight may be no number:
// then the second is the first.
template <typename T>
__device__ BilinearSample<T> sample_of(std::int32_t in, T scale, std::int32_t at,
                                       std::int32_t out) {
    BilinearSample<T> sample = bilinear_sample(in, scale, at < out ? at : out - 1);
    if (sample.weight == T(0)) sample.high = sample.low;
    return sample;
}

// Samples of the tile at (y, x): some threads for the columns, others for the rows.
template <typename T>
__device__ void find_samples(const Fusion<T>& fusion, const Resampling<T>& size, std::int32_t y,
                             std::int32_t x, TileSamples<T>& samples) {
    static_assert(kTileColumns + kTileRows <= kThreads);
    const auto thread = static_cast<int>(threadIdx.x);
    if (thread < kTileColumns) {
        const auto sample = sample_of(size.width, size.scale_x, x + thread, fusion.width);
        samples.columns[thread] = {sample.low, sample.high, sample.weight};
        return;
    }
    const int row = thread - kTileColumns;
    if (row >= kTileRows) return;
    const auto sample = [&](int at) {
        return sample_of(size.height, size.scale_y, y + at, fusion.height);
    };
    const BilinearSample<T> own = sample(row);
    const int begin = row / size.at_once * size.at_once;
    const std::int32_t first = sample(begin).low;
    const int low = size.pairs ? 2 * (row - begin) : own.low - first;
    const int high = size.pairs ? low + 1 : own.high - first;
    samples.rows[row] = {high << 16 | low, own.weight};
    if (row == begin) {
        const std::int32_t last = sample(begin + size.at_once - 1).high;
        samples.sources[row / kRows] = {first, size.pairs ? 2 * kRows : last - first + 1};
    }
}

// Stretches the source rows of the rows from y on that are made at a time, a column a thread.
template <typename T>
__device__ void stretch(const Fusion<T>& fusion, const Resampling<T>& size, const T* map,
                        const TileSamples<T>& samples, std::int32_t tile_y, int begin,
                        T* stretched) {
    constexpr int kStep = kThreads / kTileColumns;
    const auto thread = static_cast<int>(threadIdx.x);
    const auto column = samples.columns[thread % kTileColumns];
    const auto sources = samples.sources[begin / kRows];
    const T rest = T(1) - column.weight;
    const T* low = map + column.low;
    const T* high = map + column.high;
    T* out = stretched + thread;
    if (size.pairs) {
        for (int i = thread / kTileColumns; i < sources.count; i += kStep, out += kThreads) {
            const auto row =
                sample_of(size.height, size.scale_y, tile_y + begin + i / 2, fusion.height);
            const std::int64_t at = std::int64_t{i % 2 == 0 ? row.low : row.high} * size.width;
            *out = rest * low[at] + column.weight * high[at];
        }
        return;
    }
    const std::int64_t at = std::int64_t{sources.first + thread / kTileColumns} * size.width;
    const std::int64_t step = std::int64_t{kStep} * size.width;
    low += at;
    high += at;
    for (int i = thread / kTileColumns; i < sources.count; i += kStep, out += kThreads) {
        *out = rest * *low + column.weight * *high;
        low += step;
        high += step;
    }
}

// Adds a warp's rows of one size. `stretched` begins with the thread's first column.
template <typename T>
__device__ void blend(const RowBlend<T>* rows, const T* stretched, Patch<T>& sums) {
    T low[kColumns];
    T high[kColumns];
    std::int32_t pair = -1;
    for_constants<0, kRows>([&](int r) {
        const RowBlend<T> row = rows[r];
        if (row.pair != pair) {
            pair = row.pair;
            for (int j = 0; j < kColumns; ++j) {
                low[j] = stretched[(pair & 0xFFFF) * kTileColumns + 32 * j];
                high[j] = stretched[(pair >> 16) * kTileColumns + 32 * j];
            }
        }
        const T rest = T(1) - row.weight;
        for (int j = 0; j < kColumns; ++j) {
            sums.value[r][j] += rest * low[j] + row.weight * high[j];
        }
    });
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

// The maximum, from 0 on; NaN where a value is no finite number. Where a tile reaches beyond the
// output it has the last row or column once more.
template <typename T>
__device__ Order<T> greatest_of(const Patch<T>& sums) {
    T most = T(0);
    T finite = T(0);
    for_constants<0, kRows>([&](int r) {
        for (int j = 0; j < kColumns; ++j) {
            most = std::fmax(most, sums.value[r][j]);
            finite = std::fma(sums.value[r][j], T(0), finite);
        }
    });
    return detail::bits_as<Order<T>>(finite == T(0) ? most : static_cast<T>(NAN));
}

// Divides by the maximum and writes, from row y and column x on.
template <Element kElement, typename T>
__device__ void write(const Fusion<T>& fusion, int map, const Patch<T>& sums, std::int32_t y,
                      std::int32_t x) {
    const Divisor<T> divisor(
        fusion.most ? detail::bits_as<T>(fusion.most[fusion.slot[map]]) + T(1e-5) : T(1));
    const T least = fusion.relu_sum ? T(0) : static_cast<T>(-INFINITY);
    const std::int64_t row_bytes = fusion.width * bytes_of(kElement);
    char* row = static_cast<char*>(fusion.out[map]) + y * row_bytes + x * bytes_of(kElement);
    const std::int32_t columns = (fusion.width - x + 31) / 32;
    for_constants<0, kRows>([&](int r) {
        if (y + r >= fusion.height) return;
        T values[kColumns];
        for (int j = 0; j < kColumns; ++j) {
            // Cut off, and NaN where it is no finite number.
            const T value = sums.value[r][j];
            values[j] = std::fmax(value, least) + (value - value);
        }
        divisor.divide(values);
        for (int j = 0; j < kColumns; ++j) {
            if (j < columns) store_element(row, kElement, 32 * j, values[j]);
        }
        row += row_bytes;
    });
}

// Finds the maxima, or with kWrite divides by them and writes. A block has a tile of some maps.
template <typename T, Element kElement, bool kWrite>
__global__ void __launch_bounds__(kThreads, std::is_same_v<T, float> ? 3 : 1)
    fuse(Fusion<T> fusion) {
    auto& shared = block_shared<Shared<T>>();
    const Quotient of_maps = divide(blockIdx.x, fusion.tiles);
    const Quotient of_tile = divide(of_maps.rest, fusion.tiles_across);
    const auto tile_y = static_cast<std::int32_t>(of_tile.whole) * kTileRows;
    const auto tile_x = static_cast<std::int32_t>(of_tile.rest) * kTileColumns;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int first_row = static_cast<int>(threadIdx.x) / 32 * kRows;
    const std::int32_t y = tile_y + first_row;
    const bool has_work = y < fusion.height;  // the same in a warp
    const int first_map = static_cast<int>(of_maps.whole) * fusion.maps_of_block;
    const int last_map = first_map + fusion.maps_of_block < fusion.maps
                             ? first_map + fusion.maps_of_block
                             : fusion.maps;

    for (int map = first_map; map < last_map; ++map) {
        Patch<T> sums{};
        for (int g = 0; g < fusion.size_count; ++g) {
            const Resampling<T>& size = fusion.sizes[g];
            TileSamples<T>& samples = shared.samples[g % kKept];
            if (map == first_map || fusion.size_count > kKept) {
                find_samples(fusion, size, tile_y, tile_x, samples);
            }
            for (int begin = 0; begin < kTileRows; begin += size.at_once) {
                if (tile_y + begin >= fusion.height) break;  // the same in a block
                __syncthreads();
                stretch(fusion, size, fusion.sums + map * fusion.elements + size.offset, samples,
                        tile_y, begin, shared.stretched);
                __syncthreads();
                if (has_work && first_row >= begin && first_row < begin + size.at_once) {
                    blend(samples.rows + first_row, shared.stretched + lane, sums);
                }
            }
        }
        if constexpr (kWrite) {
            __syncthreads();  // before the next map's samples
            if (has_work) write<kElement>(fusion, map, sums, y, tile_x + lane);
        } else {
            const Order<T> most =
                greatest_of_block(has_work ? greatest_of(sums) : Order<T>{0}, shared.most);
            if (threadIdx.x == 0) atomicMax(fusion.most + fusion.slot[map], most);
        }
    }
}

// How many rows are made at a time.
template <typename T>
Resampling<T> resampling(const CamSize& size, const CamTarget& target) {
    Resampling<T> result{size.offset,
                         size.height,
                         size.width,
                         bilinear_scale<T>(size.height, target.height),
                         bilinear_scale<T>(size.width, target.width),
                         kTileRows,
                         false};
    // From the first to the last source row of some rows, one more for rounding. It is less than 1
    // as long as positions are exact to a part of a row.
    constexpr std::int32_t kExact = 1 << 20;
    const auto fits = [&] {
        return (result.at_once - 1) * static_cast<double>(result.scale_y) + 4 <= kStretched;
    };
    while (result.at_once > kRows && !fits()) result.at_once /= 2;
    result.pairs = !fits() || std::max(size.height, target.height) > kExact;
    if (result.pairs) result.at_once = kRows;
    return result;
}

template <typename T>
std::int64_t slots_of(const CamFusionParams<T>& params) {
    const bool of_images = params.normalize == CamNormalize::kImage;
    return static_cast<std::int64_t>(of_images ? params.image_begin.size() : params.maps.size());
}

// The sums of inputs of one size, and the maxima or null.
template <typename T>
struct Scratch {
    T* sums;
    Order<T>* most;

    Scratch(Carve& carve, const CamFusionParams<T>& params, const CamSizes& sizes)
        : sums(carve.take<T>(static_cast<std::int64_t>(params.maps.size()) * sizes.elements)),
          most(nullptr) {
        if (params.normalize == CamNormalize::kNone) return;
        most = carve.take<Order<T>>(slots_of(params) *
                                    static_cast<std::int64_t>(params.targets.size()));
    }
};

template <typename T>
void fuse_target(const CamFusionParams<T>& params, const CamSizes& sizes, const T* sums,
                 const CamTarget& target, Order<T>* most) {
    // The last tile may reach beyond the output by its own size.
    constexpr std::int32_t kLongest = INT32_MAX - 2048;
    if (std::max(target.crop_height, target.crop_width) > kLongest)
        refuse("size: expected at most ", kLongest, " pixels along an axis on CUDA");
    Fusion<T> fusion{};
    for (const CamSize& size : sizes.list)
        fusion.sizes[fusion.size_count++] = resampling<T>(size, target);
    fusion.elements = sizes.elements;
    fusion.relu_sum = params.relu == CamRelu::kSum;
    fusion.height = target.crop_height;
    fusion.width = target.crop_width;
    fusion.most = most;
    const auto count = [](std::int64_t length, std::int64_t of_tile) {
        return static_cast<std::int32_t>((length + of_tile - 1) / of_tile);
    };
    fusion.tiles_across = count(fusion.width, kTileColumns);
    const std::int64_t tiles = std::int64_t{fusion.tiles_across} * count(fusion.height, kTileRows);
    fusion.tiles = static_cast<std::int32_t>(tiles);

    // Two, as long as that leaves blocks for all of a device.
    const std::int64_t of_maps = tiles * static_cast<std::int64_t>(params.maps.size());
    fusion.maps_of_block = of_maps < 1024 ? 1 : 2;

    const std::int64_t map_bytes =
        std::int64_t{fusion.height} * fusion.width * bytes_of(params.element);
    std::vector<std::int32_t> slots;
    std::vector<void*> outs;
    for (std::size_t n = 0; n + 1 < params.image_begin.size(); ++n) {
        const std::int64_t begin = params.image_begin[n];
        for (std::int64_t m = begin; m < params.image_begin[n + 1]; ++m) {
            const bool of_images = params.normalize == CamNormalize::kImage;
            slots.push_back(
                static_cast<std::int32_t>(of_images ? static_cast<std::int64_t>(n) : m));
            outs.push_back(static_cast<char*>(target.outputs[n]) + (m - begin) * map_bytes);
        }
    }
    const auto wanted = static_cast<std::int64_t>(params.maps.size());
    const auto launch_all = [&](auto kernel) {
        for (std::int64_t begin = 0; begin < wanted; begin += kMapsOfLaunch) {
            const std::int64_t maps = std::min<std::int64_t>(kMapsOfLaunch, wanted - begin);
            std::copy_n(slots.begin() + begin, maps, fusion.slot);
            std::copy_n(outs.begin() + begin, maps, fusion.out);
            fusion.sums = sums + begin * fusion.elements;
            fusion.maps = static_cast<std::int32_t>(maps);
            const std::int64_t blocks = count(maps, fusion.maps_of_block) * tiles;
            launch(kernel, {blocks}, params.place, fusion);
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
    const Scratch<T> scratch(carve, params, CamSizes(params.inputs));
    return carve.bytes();
}

template <typename T>
void cam_fusion(const CamFusionParams<T>& params) {
    static_assert(sizeof(Fusion<T>) <= 4096);
    const CamSizes sizes(params.inputs);
    Carve carve(params.workspace);
    const Scratch<T> scratch(carve, params, sizes);
    const std::int64_t slots = slots_of(params);
    Order<T>* most = scratch.most;
    if (most) {
        const auto targets = static_cast<std::int64_t>(params.targets.size());
        fill_bytes(most, 0, targets * slots * static_cast<std::int64_t>(sizeof *most),
                   params.place);
    }
    add_cams(params, sizes, scratch.sums);
    for (const CamTarget& target : params.targets) {
        fuse_target(params, sizes, scratch.sums, target, most);
        if (most) most += slots;
    }
}

template std::int64_t cam_fusion_workspace_bytes(const CamFusionParams<float>&);
template std::int64_t cam_fusion_workspace_bytes(const CamFusionParams<double>&);
template void cam_fusion(const CamFusionParams<float>&);
template void cam_fusion(const CamFusionParams<double>&);

}  // namespace wsss_fast::cuda
