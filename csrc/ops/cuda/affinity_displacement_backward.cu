#include "ops/affinity_displacement.h"
#include "ops/cuda/affinity_displacement_pairs.h"

namespace wsss_fast::cuda {
namespace {

// The gradient that a pair hands to the pixel that holds its path's maximum depends on that pixel
// and on the pair's kind alone; that of a displacement's error is its sign, times a factor of the
// kind. So all there is to know of the pairs of a pixel are whole numbers, which can be added in
// any order.
enum PairCount {
    kBackgroundMaxima,  // how many paths of a kind of pairs have their maximum in the pixel
    kForegroundMaxima,
    kDifferentMaxima,
    kSignsOfDy,  // of the errors of pairs that begin in the pixel, less those that end there
    kSignsOfDx,
    kPairCounts,
};

// [kPairCounts][images][height][width]
struct PairCounts {
    std::int32_t* value;
    std::int64_t pixels;  // of all images

    __device__ void add(PairCount kind, std::int64_t pixel, int by) const {
        atomicAdd(value + kind * pixels + pixel, by);
    }
};

// Those of a tile in shared memory. Two numbers share a word: 9,000 pixels are on the paths of a
// source at the largest radius that there is room for, and as many paths go through a pixel.
template <int kRoom>
struct CountTile {
    unsigned equal[kRoom];      // background maxima, and those of foreground times 2^16
    unsigned different[kRoom];  // different maxima
    unsigned signs[kRoom];      // of dy, and those of dx times 2^16: both may be negative
};

// add_maximum(kind, y, x, i), add_signs(y, x, i, of dy, of dx): to the pixel (y, x) away from the
// thread's source i.
template <int kRoom>
struct StagedCounts {
    CountTile<kRoom>& tile;
    int own;
    int stride;

    __device__ int at(int y, int x, int i) const { return own + (y + i) * stride + x; }
    __device__ void add_maximum(PairCount kind, int y, int x, int i) const {
        if (kind == kDifferentMaxima) {
            atomicAdd(tile.different + at(y, x, i), 1u);
        } else {
            atomicAdd(tile.equal + at(y, x, i), kind == kBackgroundMaxima ? 1u : 1u << 16);
        }
    }
    __device__ void add_signs(int y, int x, int i, int dy, int dx) const {
        atomicAdd(tile.signs + at(y, x, i), static_cast<unsigned>(dy + dx * (1 << 16)));
    }
};
struct DirectCounts {
    PairCounts counts;
    std::int64_t pixel;
    std::int64_t width;

    __device__ std::int64_t at(int y, int x, int i) const {
        return pixel + std::int64_t{y + i} * width + x;
    }
    __device__ void add_maximum(PairCount kind, int y, int x, int i) const {
        counts.add(kind, at(y, x, i), 1);
    }
    __device__ void add_signs(int y, int x, int i, int dy, int dx) const {
        if (dy != 0) counts.add(kSignsOfDy, at(y, x, i), dy);
        if (dx != 0) counts.add(kSignsOfDx, at(y, x, i), dx);
    }
};

// Adds a tile to the counts of the whole.
template <int kRoom>
__device__ void add_tile(const CountTile<kRoom>& tile, const PathSources& sources,
                         const PathThread& thread, const PairCounts& counts) {
    const PathReach reach(sources.radius);
    const std::int64_t left = sources.first_x + thread.tile_column - (sources.radius - 1);
    for (int i = static_cast<int>(threadIdx.x); i < reach.pixels(); i += kThreads) {
        const unsigned equal = tile.equal[i];
        const unsigned different = tile.different[i];
        const unsigned signs = tile.signs[i];
        if ((equal | different | signs) == 0) continue;  // outside of the map too
        const int y = i / reach.width;
        const std::int64_t pixel =
            (thread.image * sources.height + thread.tile_row + y) * sources.width + left + i -
            y * reach.width;
        const auto add = [&](PairCount kind, int by) {
            if (by != 0) counts.add(kind, pixel, by);
        };
        const auto of_dy = static_cast<std::int16_t>(signs & 0xFFFFu);
        add(kBackgroundMaxima, static_cast<int>(equal & 0xFFFFu));
        add(kForegroundMaxima, static_cast<int>(equal >> 16));
        add(kDifferentMaxima, static_cast<int>(different));
        add(kSignsOfDy, of_dy);
        add(kSignsOfDx, static_cast<std::int16_t>((signs - static_cast<unsigned>(of_dy)) >> 16));
    }
}

template <typename T>
__device__ int sign_of(T value) {
    return (value > T(0) ? 1 : 0) - (value < T(0) ? 1 : 0);
}

template <typename T, typename Boundary, typename Counts>
__device__ void count_of_thread(const PathSources& sources, const PairMaps<T>& maps,
                                const PathThread& thread, const Boundary& boundary,
                                const Counts& counts) {
    const PairSources<T> pixels(sources, maps, thread);
    int signs_of_dy[kPathRows] = {};
    int signs_of_dx[kPathRows] = {};
    for_paths(sources.radius, thread.first_path, thread.last_path, [&](int, int dy, int dx) {
        std::int32_t other[kPathRows];
        if (!pixels.neighbours(maps, dy, dx, other)) return;
        T most[kPathRows];
        int first[kPathRows];
        constexpr int kMiddle = 128;  // of x in the last byte
        first_path_maxima(boundary, dy, dx, most, first,
                          [](int y, int x) { return (y << 8) + kMiddle + x; });
        for (int i = 0; i < kPathRows; ++i) {
            if (other[i] == kNoLabel) continue;
            PairCount kind = kDifferentMaxima;
            if (other[i] == pixels.label[i]) {
                const bool background = other[i] == kBackgroundLabel;
                kind = background ? kBackgroundMaxima : kForegroundMaxima;
                const Pack<T, 2> error = pixels.error(maps, dy, dx, i);
                const int of_dy = sign_of(error.value[0]);
                const int of_dx = sign_of(error.value[1]);
                counts.add_signs(dy, dx, i, -of_dy, -of_dx);
                signs_of_dy[i] += of_dy;
                signs_of_dx[i] += of_dx;
            }
            counts.add_maximum(kind, first[i] >> 8, (first[i] & 0xFF) - kMiddle, i);
        }
    });
    for (int i = 0; i < kPathRows; ++i) {
        if (pixels.label[i] != kNoLabel) counts.add_signs(0, 0, i, signs_of_dy[i], signs_of_dx[i]);
    }
}

template <int kRoom, typename T>
__global__ void count_pairs(PathTiles tiles, PairMaps<T> maps, PairCounts counts) {
    const PathSources& sources = tiles.sources;
    const PathThread thread(tiles);
    if constexpr (kRoom > 0) {
        const PathReach reach(sources.radius);
        auto& tile = block_shared<CountTile<kRoom>>();
        for (int i = static_cast<int>(threadIdx.x); i < reach.pixels(); i += kThreads) {
            tile.equal[i] = 0;
            tile.different[i] = 0;
            tile.signs[i] = 0;
        }
        const auto boundary =
            boundary_of<kRoom>(sources, BoundaryMaps<T>{maps.boundary, kElementOf<T>}, thread);
        const int own = thread.in_tile_row * reach.width + thread.in_tile_column;
        count_of_thread(sources, maps, thread, boundary,
                        StagedCounts<kRoom>{tile, own + sources.radius - 1, reach.width});
        __syncthreads();
        add_tile(tile, sources, thread, counts);
    } else {
        const auto boundary =
            boundary_of<kRoom>(sources, BoundaryMaps<T>{maps.boundary, kElementOf<T>}, thread);
        const std::int64_t row = thread.image * sources.height + thread.row();
        count_of_thread(
            sources, maps, thread, boundary,
            DirectCounts{counts, row * sources.width + sources.first_x + thread.column(),
                         sources.width});
    }
}

template <typename T>
__global__ void write_gradients(AffinityDisplacementBackwardParams<T> params, PairMaps<T> maps,
                                PairCounts counts) {
    const PairInputs& inputs = params.inputs;
    const std::int64_t of_image = inputs.height * inputs.width;
    const std::int64_t pixel = thread_number();
    const Quotient at = divide(pixel, of_image);
    if (at.whole >= inputs.images) return;
    const auto count = [&](PairCount kind) {
        return static_cast<T>(counts.value[kind * counts.pixels + pixel]);
    };
    const T boundary = maps.boundary[pixel];
    const T affinity = T(1) - boundary;
    const T equal = count(kBackgroundMaxima) * params.grad_sums[kBackgroundPairs] +
                    count(kForegroundMaxima) * params.grad_sums[kForegroundPairs];
    const T different = count(kDifferentMaxima) * params.grad_sums[kDifferentPairs];
    const T of_boundary =
        equal / (affinity + kPairEpsilon<T>)-different / (kOneAndPairEpsilon<T> - affinity);
    store_element(params.grad_boundary_logits, inputs.element, pixel,
                  of_boundary * (affinity * boundary));

    // All pairs of equal label that a pixel is in are of its own kind.
    const std::int32_t label = maps.labels[pixel];
    const T grad = params.grad_sums[label == kBackgroundLabel ? kBackgroundDisplacement
                                                              : kForegroundDisplacement];
    const std::int64_t of_dy = 2 * at.whole * of_image + at.rest;
    for (int k = 0; k < 2; ++k) {
        // NaN and infinities have no sign to count.
        const T value = maps.displacement[pixel].value[k];
        const T bad = label == kNoLabel ? T(0) : value - value;
        store_element(params.grad_displacement, inputs.element, of_dy + k * of_image,
                      count(k == 0 ? kSignsOfDy : kSignsOfDx) * grad + bad);
    }
}

// What the workspace is cut into.
template <typename T>
struct Workspace {
    PairMaps<T> maps;
    PairCounts counts;
    std::int64_t bytes;

    Workspace(const PairInputs& inputs, void* memory) {
        Carve carve(memory);
        maps = carve_pair_maps<T>(carve, inputs);
        counts.pixels = inputs.images * inputs.height * inputs.width;
        counts.value = carve.take<std::int32_t>(kPairCounts * counts.pixels);
        bytes = carve.bytes();
    }
};

// Of the 48 KB of shared memory that every device has: up to radius 16 in single precision, and 12
// in double.
template <typename T>
constexpr int kCountRoom = (48 << 10) / (sizeof(T) + 3 * sizeof(unsigned));

}  // namespace

template <typename T>
std::int64_t affinity_displacement_backward_workspace_bytes(const PairInputs& inputs) {
    return Workspace<T>(inputs, nullptr).bytes;
}

template <typename T>
void affinity_displacement_backward(const AffinityDisplacementBackwardParams<T>& params) {
    const PairInputs& inputs = params.inputs;
    const Workspace<T> workspace(inputs, params.workspace);
    const PairCounts& counts = workspace.counts;
    fill_bytes(counts.value, 0,
               kPairCounts * counts.pixels * static_cast<std::int64_t>(sizeof(std::int32_t)),
               params.place);
    prepare_pairs(inputs, workspace.maps, params.place);
    const PathTiles tiles(pair_sources(inputs));
    with_room<kCountRoom<T>>(inputs.radius, [&](auto room) {
        launch(&count_pairs<decltype(room)::value, T>, Shape{tiles.blocks()}, params.place, tiles,
               workspace.maps, counts);
    });
    launch(&write_gradients<T>, for_each(counts.pixels), params.place, params, workspace.maps,
           counts);
}

template std::int64_t affinity_displacement_backward_workspace_bytes<float>(const PairInputs&);
template std::int64_t affinity_displacement_backward_workspace_bytes<double>(const PairInputs&);
template void affinity_displacement_backward(const AffinityDisplacementBackwardParams<float>&);
template void affinity_displacement_backward(const AffinityDisplacementBackwardParams<double>&);

}  // namespace wsss_fast::cuda
