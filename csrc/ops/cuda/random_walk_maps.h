#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

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

// fill(maps of a part, its batch, at): `at(array, n)` is where the part's images begin in an array
// of the batch that has n numbers for each pixel of an image.
template <typename Batch, typename Fill>
WalkMaps walk_maps_of(const Batch* batches, const WalkSeries& series, Element element,
                      Fill&& fill) {
    WalkMaps maps{};
    maps.element = element;
    for (std::size_t i = 0; i < series.parts.size(); ++i) {
        const WalkPart& part = series.parts[i];
        const Batch& batch = batches[part.batch];
        fill(maps.of[i], batch, [&](auto* array, std::int64_t of_pixel) {
            using Bytes =
                std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(array)>>,
                                   const char, char>;
            const std::int64_t of_image = batch.height * batch.width * of_pixel * bytes_of(element);
            return array ? static_cast<Bytes*>(array) + part.first * of_image : nullptr;
        });
    }
    return maps;
}

inline WalkMaps walk_maps(const WalkBatch* batches, const WalkSeries& series, Element element) {
    return walk_maps_of(batches, series, element,
                        [](WalkMapsOfBatch& of, const WalkBatch& batch, auto&& at) {
                            of.cam = at(batch.cam, batch.maps);
                            of.boundary = at(batch.boundary, 1);
                            of.out = at(batch.out, batch.maps);
                        });
}

inline WalkMaps walk_maps(const WalkGradientBatch* batches, const WalkSeries& series,
                          Element element) {
    return walk_maps_of(batches, series, element,
                        [](WalkMapsOfBatch& of, const WalkGradientBatch& batch, auto&& at) {
                            of.cam = at(batch.cam, batch.maps);
                            of.boundary = at(batch.boundary, 1);
                            of.out = at(batch.grad_cam, batch.maps);
                            of.grad_out = at(batch.grad_out, batch.maps);
                            of.grad_boundary = at(batch.grad_boundary, 1);
                        });
}

}  // namespace wsss_fast::cuda
