#pragma once

#include <cstdint>

#include "common/cuda/divide.h"
#include "common/cuda/launch.h"
#include "ops/cuda/crf_update.h"
#include "ops/cuda/lattice_rows.h"

namespace wsss_fast::cuda {

// How the rows of classes of all maps go to the threads.
struct RowsOfThreads {
    std::int64_t count;  // rows
    KnownDivisor sets;
    KnownDivisor of_image;  // points
    int lane_bits;          // 2^lane_bits threads side by side share a row

    explicit RowsOfThreads(const Maps& maps)
        : count(maps.rows()), sets(maps.sets), of_image(maps.of_image) {
        lane_bits = 0;
        while (lane_bits < 5 && (1 << lane_bits) < maps.shape.packs) ++lane_bits;
    }
    int lanes() const { return 1 << lane_bits; }
};

// What a thread has of a row of classes: packs lane, lane + lanes, ..., or with kOnePack no more
// than the first of them. All threads of a warp go through its shuffles; those of no row have no
// packs, and do nothing else.
template <bool kOnePack>
struct RowPart {
    std::int64_t row;
    std::int64_t image;
    std::int64_t set;
    std::int64_t point;           // in its image
    std::int64_t point_of_batch;  // among those of all images
    int lane;
    int lanes;
    std::int64_t end;  // of the packs
    bool is_first;     // of the threads of its row

    __device__ RowPart(const Maps& maps, const RowsOfThreads& rows) : lanes(1 << rows.lane_bits) {
        const std::int64_t t = thread_number();
        const std::int64_t found = t >> rows.lane_bits;
        const bool real = found < rows.count;
        row = real ? found : 0;
        const Quotient of_point = rows.sets.divide(row);
        set = of_point.rest;
        point_of_batch = of_point.whole;
        const Quotient of_image = rows.of_image.divide(point_of_batch);
        image = of_image.whole;
        point = of_image.rest;
        lane = static_cast<int>(t & (lanes - 1));
        end = real ? maps.shape.packs : 0;
        is_first = real && lane == 0;
    }

    // body(pack)
    template <typename Body>
    __device__ void for_each_pack(Body&& body) const {
        if constexpr (kOnePack) {
            if (lane < end) body(lane);
        } else {
            for (std::int64_t pack = lane; pack < end; pack += lanes) body(pack);
        }
    }

    // choose(one, another) over the values of all threads of the row.
    template <typename T, typename Choose>
    __device__ T over_lanes(T value, Choose&& choose) const {
        for (int step = lanes / 2; step > 0; step /= 2)
            value = choose(value, __shfl_xor_sync(0xFFFFFFFFu, value, step));
        return value;
    }
};

// The energies, and then Q, of a thread's packs: in registers where it has one pack at the most,
// else in the row itself, of which no other thread sees these packs.
template <bool kOnePack, int kWidth, typename T>
class HeldPacks {
  public:
    __device__ explicit HeldPacks(Pack<T, kWidth>* row) : row_(row) {}

    __device__ Pack<T, kWidth> get(std::int64_t pack) const {
        if constexpr (kOnePack) return held_;
        return row_[pack];
    }
    __device__ void set(std::int64_t pack, const Pack<T, kWidth>& value) {
        if constexpr (kOnePack) {
            held_ = value;
        } else {
            row_[pack] = value;
        }
    }

  private:
    Pack<T, kWidth>* row_;
    Pack<T, kWidth> held_;
};

}  // namespace wsss_fast::cuda
