#include <cmath>

#include "common/cuda/carve.h"
#include "common/cuda/divide.h"
#include "common/cuda/launch.h"
#include "ops/cuda/lattice.h"
#include "ops/cuda/lattice_rows.h"
#include "ops/cuda/lattice_slice.h"

namespace wsss_fast::cuda {
namespace {

constexpr std::int64_t kChannelsAtOnce = 32;  // more go through one block of them after the other

// Some channels of the values, [N][channels][P], as rows.
template <typename T>
struct Planes {
    std::int64_t images;
    std::int64_t of_image;  // points
    std::int64_t channels;
    std::int64_t first;  // channel
    std::int64_t count;  // of channels

    __device__ std::int64_t at(std::int64_t image, std::int64_t channel, std::int64_t point) const {
        return (image * channels + first + channel) * of_image + point;
    }
};

// Threads side by side have points side by side.
template <int kWidth, typename T>
__global__ void to_rows(Planes<T> planes, std::int64_t packs, const T* values,
                        Pack<T, kWidth>* rows) {
    const std::int64_t t = thread_number();
    const std::int64_t points = planes.images * planes.of_image;
    if (t >= points * packs) return;
    const Quotient of_pack = divide(t, points);
    const Quotient of_image = divide(of_pack.rest, planes.of_image);
    Pack<T, kWidth> pack = zero_pack<T, kWidth>();
    for (int k = 0; k < kWidth; ++k) {
        const std::int64_t channel = of_pack.whole * kWidth + k;
        if (channel < planes.count)
            pack.value[k] = values[planes.at(of_image.whole, channel, of_image.rest)];
    }
    rows[of_pack.rest * packs + of_pack.whole] = pack;
}

template <int kWidth, typename T>
__global__ void slice_to_planes(LatticeView<T> lattice, Planes<T> planes, std::int64_t packs,
                                T gain, const Pack<T, kWidth>* rows, T* values) {
    const std::int64_t t = thread_number();
    if (t >= lattice.points * packs) return;
    const Quotient of_pack = divide(t, lattice.points);
    const Quotient of_image = divide(of_pack.rest, planes.of_image);
    const Pack<T, kWidth> pack = slice(lattice, of_pack.rest, rows + of_pack.whole, packs);
    const bool bad = lattice.bad[of_image.whole] != 0;
    for (int k = 0; k < kWidth; ++k) {
        const std::int64_t channel = of_pack.whole * kWidth + k;
        if (channel >= planes.count) break;
        values[planes.at(of_image.whole, channel, of_image.rest)] =
            bad ? static_cast<T>(NAN) : gain * pack.value[k];
    }
}

template <typename T>
struct FilterArrays {
    T* points = nullptr;
    T* rows = nullptr;
    T* other = nullptr;
};

template <typename T>
FilterArrays<T> cut(Carve& carve, const RowsOnLattice<T>& on) {
    return {carve.take<T>(on.point_values()), carve.take<T>(on.lattice_values()),
            carve.take<T>(on.lattice_values())};
}

template <typename T>
RowsOnLattice<T> rows_on_lattice(const LatticeFilterParams<T>& params, std::int64_t channels) {
    const LatticeView<T> view = view_lattice<T>(params.lattice, params.lattice_bytes, params.images,
                                                params.images * params.points, params.dims);
    return {view, 1, row_shape(channels)};
}

template <typename T>
std::int64_t at_once(const LatticeFilterParams<T>& params) {
    return params.channels < kChannelsAtOnce ? params.channels : kChannelsAtOnce;
}

}  // namespace

template <typename T>
std::int64_t lattice_filter_workspace_bytes(const LatticeFilterParams<T>& params) {
    Carve carve;
    cut(carve, rows_on_lattice(params, at_once(params)));
    return carve.bytes();
}

template <typename T>
void lattice_filter(const LatticeFilterParams<T>& params) {
    mark_unset(params.out, params.images * params.channels * params.points *
                               static_cast<std::int64_t>(sizeof(T)));
    if (params.images * params.points * params.channels == 0) return;
    Carve carve(params.workspace);
    const FilterArrays<T> arrays = cut(carve, rows_on_lattice(params, at_once(params)));
    const T gain = lattice_gain<T>(params.dims);
    for (std::int64_t first = 0; first < params.channels; first += kChannelsAtOnce) {
        const std::int64_t left = params.channels - first;
        const std::int64_t count = left < kChannelsAtOnce ? left : kChannelsAtOnce;
        const RowsOnLattice<T> on = rows_on_lattice(params, count);
        const Planes<T> planes{params.images, params.points, params.channels, first, count};
        const Shape threads = for_each(on.point_rows() * on.shape.packs);
        with_width(on.shape.width, [&](auto width) {
            constexpr int kWidth = decltype(width)::value;
            launch(&to_rows<kWidth, T>, threads, params.place, planes, on.shape.packs,
                   params.values, packs_at<kWidth>(arrays.points));
            splat(on, arrays.points, arrays.rows, params.place);
            const auto blurred = blur(on, params.order, {arrays.rows, arrays.other}, params.place);
            launch(&slice_to_planes<kWidth, T>, threads, params.place, on.lattice, planes,
                   on.shape.packs, gain, packs_at<kWidth>(blurred.rows), params.out);
        });
    }
}

template std::int64_t lattice_filter_workspace_bytes(const LatticeFilterParams<float>&);
template std::int64_t lattice_filter_workspace_bytes(const LatticeFilterParams<double>&);
template void lattice_filter(const LatticeFilterParams<float>&);
template void lattice_filter(const LatticeFilterParams<double>&);

}  // namespace wsss_fast::cuda
