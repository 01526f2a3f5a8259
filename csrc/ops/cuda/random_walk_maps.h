#pragma once

#include <cstddef>
#include <cstdint>

#include "common/cuda/element.h"
#include "ops/cuda/path_maxima.h"
#include "ops/cuda/random_walk.h"
#include "ops/cuda/random_walk_images.h"
#include "ops/cuda/random_walk_series.h"

// What a walk reads and writes for its caller: arrays [images][maps][height][width] without gaps,
// of any element type, for each batch of a table.
namespace wsss_fast::cuda {

struct WalkMapsOfBatch {
    const void* cam;
    const void* boundary;  // [images][height][width]
    void* out;             // of the walk, or the gradient of cam
    // Of a gradient only:
    const void* grad_out;
    void* grad_boundary;  // [images][height][width]; null: not wanted
};

struct WalkMaps {
    WalkMapsOfBatch of[kBatchesOfTable];
    Element element;

#if defined(__CUDACC__) || defined(WSSS_FAST_CUDA_ON_HOST)

    template <typename T>
    __device__ BoundaryMaps<T> boundaries(int batch) const {
        return {of[batch].boundary, element};
    }

    // 1 - the boundary.
    template <typename T>
    __device__ T share(const WalkImages<T>& images, const WalkSpot& spot) const {
        const std::int64_t at = (spot.image * images.height + spot.y) * images.width + spot.x;
        return affinity_of(boundaries<T>(spot.batch).at(at));
    }

    // The pack of the spot; what fills up the last one is 0.
    template <int kWidth, typename T>
    __device__ Pack<T, kWidth> load(const WalkImages<T>& images, const WalkSpot& spot,
                                    const void* from) const {
        Pack<T, kWidth> pack{};
        for (int m = 0; m < kWidth; ++m) {
            const std::int64_t map = spot.pack * kWidth + m;
            if (map < images.maps)
                pack.value[m] = load_element<T>(from, element, index(images, spot, map));
        }
        return pack;
    }

    // What a walk begins with.
    template <int kWidth, typename T>
    __device__ Pack<T, kWidth> seed(const WalkImages<T>& images, const WalkSpot& spot) const {
        const T factor = share(images, spot);
        Pack<T, kWidth> pack = load<kWidth>(images, spot, of[spot.batch].cam);
        for (int m = 0; m < kWidth; ++m) pack.value[m] *= factor;
        return pack;
    }

    template <int kWidth, typename T>
    __device__ void store(const WalkImages<T>& images, const WalkSpot& spot,
                          const Pack<T, kWidth>& pack, void* to) const {
        for (int m = 0; m < kWidth; ++m) {
            const std::int64_t map = spot.pack * kWidth + m;
            if (map < images.maps)
                store_element(to, element, index(images, spot, map), pack.value[m]);
        }
    }

  private:
    template <typename T>
    static __device__ std::int64_t index(const WalkImages<T>& images, const WalkSpot& spot,
                                         std::int64_t map) {
        const std::int64_t plane = spot.image * images.maps + map;
        return (plane * images.height + spot.y) * images.width + spot.x;
    }

#endif
};

// Where the images of a part begin in an array of its batch, which has so many numbers an image.
inline void* of_part(const void* array, const WalkPart& part, std::int64_t of_image,
                     Element element) {
    if (!array) return nullptr;
    const auto* bytes = static_cast<const char*>(array);
    return const_cast<char*>(bytes) + part.first * of_image * bytes_of(element);
}

inline WalkMaps walk_maps(const WalkBatch* batches, const WalkSeries& series, Element element) {
    WalkMaps maps{};
    maps.element = element;
    for (std::size_t i = 0; i < series.parts.size(); ++i) {
        const WalkPart& part = series.parts[i];
        const WalkBatch& batch = batches[part.batch];
        const std::int64_t pixels = batch.height * batch.width;
        maps.of[i].cam = of_part(batch.cam, part, batch.maps * pixels, element);
        maps.of[i].boundary = of_part(batch.boundary, part, pixels, element);
        maps.of[i].out = of_part(batch.out, part, batch.maps * pixels, element);
    }
    return maps;
}

inline WalkMaps walk_maps(const WalkGradientBatch* batches, const WalkSeries& series,
                          Element element) {
    WalkMaps maps{};
    maps.element = element;
    for (std::size_t i = 0; i < series.parts.size(); ++i) {
        const WalkPart& part = series.parts[i];
        const WalkGradientBatch& batch = batches[part.batch];
        const std::int64_t pixels = batch.height * batch.width;
        maps.of[i].cam = of_part(batch.cam, part, batch.maps * pixels, element);
        maps.of[i].boundary = of_part(batch.boundary, part, pixels, element);
        maps.of[i].out = of_part(batch.grad_cam, part, batch.maps * pixels, element);
        maps.of[i].grad_out = of_part(batch.grad_out, part, batch.maps * pixels, element);
        maps.of[i].grad_boundary = of_part(batch.grad_boundary, part, pixels, element);
    }
    return maps;
}

}  // namespace wsss_fast::cuda
