#pragma once

#include <cmath>
#include <cstdint>

#include "common/cuda/carve.h"
#include "common/cuda/pack.h"
#include "ops/affinity_displacement_numbers.h"
#include "ops/cuda/affinity_displacement.h"
#include "ops/cuda/path_maxima.h"

// Pairs of pixels as both passes of the loss read them.
namespace wsss_fast::cuda {

constexpr std::int32_t kNoLabel = -1;  // of pixels that take no part

// The inputs, made ready: every pixel is read by hundreds of pairs.
template <typename T>
struct PairMaps {
    T* boundary;               // [images][height][width], the sigmoid of the logits
    std::int32_t* labels;      // [images][height][width]
    Pack<T, 2>* displacement;  // [images][height][width]
};

template <typename T>
PairMaps<T> carve_pair_maps(Carve& carve, const PairInputs& inputs) {
    const std::int64_t pixels = inputs.images * inputs.height * inputs.width;
    PairMaps<T> maps{};
    maps.boundary = carve.take<T>(pixels);
    maps.labels = carve.take<std::int32_t>(pixels);
    maps.displacement = carve.take<Pack<T, 2>>(pixels);
    return maps;
}

template <typename T>
void prepare_pairs(const PairInputs& inputs, const PairMaps<T>& maps, const Place& place);

inline PathSources pair_sources(const PairInputs& inputs) {
    return sources_inside(inputs.images, inputs.height, inputs.width, inputs.radius);
}

#if defined(__CUDACC__) || defined(WSSS_FAST_CUDA_ON_HOST)

// A thread's pixels that pairs begin in.
template <typename T>
struct PairSources {
    std::int64_t pixel;  // of the first, among all images
    std::int64_t width;  // of the map
    std::int32_t label[kPathRows];
    Pack<T, 2> displacement[kPathRows];

    __device__ PairSources(const PathSources& sources, const PairMaps<T>& maps,
                           const PathThread& thread)
        : pixel((thread.image * sources.height + thread.row()) * sources.width + sources.first_x +
                thread.column()),
          width(sources.width) {
        const int count = thread.count(sources);
        for (int i = 0; i < kPathRows; ++i) {
            label[i] = i < count ? maps.labels[at(0, 0, i)] : kNoLabel;
            displacement[i] = i < count ? maps.displacement[at(0, 0, i)] : Pack<T, 2>{};
        }
    }

    __device__ std::int64_t at(int dy, int dx, int i) const {
        return pixel + std::int64_t{dy + i} * width + dx;
    }

    // Reads the labels of the neighbours, kNoLabel where there is no pair. Whether there are pairs:
    // in training most pixels are far from a confident one, and their paths need not be gone.
    __device__ bool neighbours(const PairMaps<T>& maps, int dy, int dx,
                               std::int32_t (&other)[kPathRows]) const {
        bool any = false;
        for (int i = 0; i < kPathRows; ++i) {
            other[i] = label[i] == kNoLabel ? kNoLabel : maps.labels[at(dy, dx, i)];
            any = any || other[i] != kNoLabel;
        }
        return any;
    }

    // The error of the displacement of a pair of equal label.
    __device__ Pack<T, 2> error(const PairMaps<T>& maps, int dy, int dx, int i) const {
        Pack<T, 2> error = displacement[i];
        const Pack<T, 2> other = maps.displacement[at(dy, dx, i)];
        const bool foreground = label[i] != kBackgroundLabel;
        error.value[0] = error.value[0] - other.value[0] - static_cast<T>(foreground ? dy : 0);
        error.value[1] = error.value[1] - other.value[1] - static_cast<T>(foreground ? dx : 0);
        return error;
    }
};

#endif

}  // namespace wsss_fast::cuda
