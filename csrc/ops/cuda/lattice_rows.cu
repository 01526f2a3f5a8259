#include "common/cuda/divide.h"
#include "common/cuda/launch.h"
#include "ops/cuda/lattice_rows.h"
#include "ops/cuda/lattice_slice.h"

namespace wsss_fast::cuda {
namespace {

// Of a multiprocessor at the least: a thread has 48 registers, which is enough for all that it has
// under way. Turing has no room for five.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int kBlocks = 4;
#else
constexpr int kBlocks = 5;
#endif

// Entries of a thread whose loads are under way at the same time: as many as most rows have for it.
template <int kParts>
constexpr int kEntriesAtOnce = kParts == 1 ? 4 : 2;

// What is splatted from a point.
template <typename T, int kWidth>
struct PacksOfPoints {
    const Pack<T, kWidth>* first;  // of the first point
    std::int64_t copy;             // from one copy to the next
    std::uint32_t bytes;           // of a point's packs

    __device__ Pack<T, kWidth> operator()(std::int32_t point) const {
        return pack_of_row(first, point, bytes);
    }
    __device__ PacksOfPoints at(std::int64_t of_copy, std::int64_t pack) const {
        return {first + of_copy * copy + pack, copy, bytes};
    }
};
template <typename T, int kWidth>
struct OnesOfPoints {
    __device__ Pack<T, kWidth> operator()(std::int32_t) const {
        Pack<T, kWidth> ones;
        for (int k = 0; k < kWidth; ++k) ones.value[k] = 1;
        return ones;
    }
    __device__ OnesOfPoints at(std::int64_t, std::int64_t) const { return {}; }
};

// Entries 0, step, ... of the `left` that lie from `first` on; those beyond have no weight.
template <int kAtOnce, typename T>
struct SomeEntries {
    Entry<T> entry[kAtOnce];

    __device__ SomeEntries(const Entry<T>* first, std::int32_t left, std::int32_t step) {
        for (int j = 0; j < kAtOnce; ++j)
            entry[j] = j * step < left ? first[j * step] : Entry<T>{0, 0};
    }
};

// The sum over entries begin, begin + step, ... of one pack of what their points have. The next
// entries are on their way while the points of these are.
template <int kAtOnce, int kWidth, typename T, typename Points>
__device__ Pack<T, kWidth> sum_entries(const LatticeView<T>& lattice, std::int32_t begin,
                                       std::int32_t end, std::int32_t step, const Points& points) {
    Pack<T, kWidth> sum = zero_pack<T, kWidth>();
    const Entry<T>* first = lattice.entry + begin;
    SomeEntries<kAtOnce, T> some(first, end - begin, step);
    for (std::int32_t left = end - begin; left > 0; left -= kAtOnce * step) {
        first += kAtOnce * step;
        const SomeEntries<kAtOnce, T> next(first, left - kAtOnce * step, step);
        Pack<T, kWidth> pack[kAtOnce];
        for (int j = 0; j < kAtOnce; ++j) {
            // A load under a condition would not be under way with the others: the first again.
            const std::int32_t point = some.entry[j].point;
            pack[j] = points(j * step < left ? point : some.entry[0].point);
        }
        for (int j = 0; j < kAtOnce; ++j) add_scaled(sum, some.entry[j].weight, pack[j]);
        some = next;
    }
    return sum;
}

// A pack of a row of a copy, of all that are in use.
struct UsedPack {
    std::int64_t copy;
    std::int64_t row;
    std::int64_t pack;

    // Number t of them: first those of the first copy.
    template <typename T>
    __device__ UsedPack(const RowsOnLattice<T>& on, const KnownDivisor& packs, std::int64_t used,
                        std::int64_t t) {
        const Quotient of_row = packs.divide(t);
        pack = of_row.rest;
        // Most lattices have one copy.
        const Quotient of_copy =
            on.copies == 1 ? Quotient{0, of_row.whole} : divide(of_row.whole, used);
        copy = of_copy.whole;
        row = of_copy.rest;
    }
};

// kParts threads side by side for each pack of a row, which have a part of the entries each.
// Long rows are left to splat_long, but all threads of a warp go through its shuffles.
template <int kWidth, int kParts, typename T, typename Points>
__global__ void __launch_bounds__(kThreads, kBlocks)
    splat_rows(RowsOnLattice<T> on, KnownDivisor packs, Points points, Pack<T, kWidth>* rows) {
    const LatticeView<T>& lattice = on.lattice;
    const std::int64_t used = *lattice.used;
    const std::int64_t t = thread_number();
    const std::int64_t count = on.copies * used * on.shape.packs * kParts;
    if (t - threadIdx.x >= count) return;
    const int part = static_cast<int>(t % kParts);
    const UsedPack mine(on, packs, used, t < count ? t / kParts : 0);
    const std::int32_t begin = lattice.begin[mine.row];
    const std::int32_t end = lattice.end[mine.row];
    const bool here = t < count && end - begin <= kLongEntries;
    Pack<T, kWidth> sum = sum_entries<kEntriesAtOnce<kParts>, kWidth>(
        lattice, begin + part, here ? end : begin, kParts, points.at(mine.copy, mine.pack));
    for (int step = kParts / 2; step > 0; step /= 2) {
        for (int k = 0; k < kWidth; ++k)
            sum.value[k] += __shfl_xor_sync(0xFFFFFFFFu, sum.value[k], step);
    }
    if (here && part == 0)
        rows[(mine.copy * lattice.rows + mine.row) * on.shape.packs + mine.pack] = sum;
}

template <typename T, int kWidth>
struct LongSums {
    Pack<T, kWidth> part[kThreads];
};

// A block for a row of a copy at a time: several parts of its entries at once, added up in pairs.
template <int kWidth, typename T, typename Points>
__global__ void splat_long(RowsOnLattice<T> on, Points points, Pack<T, kWidth>* rows) {
    auto& sums = block_shared<LongSums<T, kWidth>>();
    const LatticeView<T>& lattice = on.lattice;
    const std::int64_t packs = on.shape.packs;
    const int abreast = packs < kThreads ? static_cast<int>(packs) : kThreads;
    int parts = 1;
    while (2 * parts * abreast <= kThreads) parts *= 2;
    const int thread = static_cast<int>(threadIdx.x);
    const int part = thread / abreast;
    const bool busy = part < parts;
    const std::int64_t work = on.copies * *lattice.long_count;
    for (std::int64_t item = blockIdx.x; item < work; item += gridDim.x) {
        const std::int64_t copy = item / *lattice.long_count;
        const std::int64_t row = lattice.long_row[item % *lattice.long_count];
        const std::int32_t begin = lattice.begin[row];
        const std::int32_t end = lattice.end[row];
        for (std::int64_t first = 0; first < packs; first += abreast) {
            const std::int64_t pack = first + thread % abreast;
            if (busy && pack < packs) {
                sums.part[thread] = sum_entries<kEntriesAtOnce<1>, kWidth>(
                    lattice, begin + part, end, parts, points.at(copy, pack));
            }
            for (int half = parts / 2; half > 0; half /= 2) {
                __syncthreads();
                if (part < half && pack < packs)
                    add_scaled(sums.part[thread], T(1), sums.part[thread + half * abreast]);
            }
            if (part == 0 && pack < packs)
                rows[(copy * lattice.rows + row) * packs + pack] = sums.part[thread];
            __syncthreads();
        }
    }
}

// Blurs along two axes, or with one axis along `first` alone. Along the second axis a row needs
// what its neighbours there have after the first, so it makes that of the neighbours' neighbours
// itself: most rows have less than one of them an axis, and the rows come from memory and go there
// half as often.
template <int kWidth, int kAxes, typename T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    blur_axes(RowsOnLattice<T> on, KnownDivisor by_packs, int first, int second,
              const Pack<T, kWidth>* from, Pack<T, kWidth>* to) {
    const LatticeView<T>& lattice = on.lattice;
    const std::int64_t packs = on.shape.packs;
    const std::int64_t used = *lattice.used;
    const std::int64_t t = thread_number();
    if (t >= on.copies * used * packs) return;
    const UsedPack mine(on, by_packs, used, t);
    const std::int64_t begin = mine.copy * lattice.rows * packs + mine.pack;
    const Pack<T, kWidth>* rows = from + begin;
    const auto bytes = static_cast<std::uint32_t>(packs * sizeof(Pack<T, kWidth>));
    const auto row_or_zero = [&](std::int32_t row) {
        return row >= 0 ? pack_of_row(rows, row, bytes) : zero_pack<T, kWidth>();
    };

    // The row and its neighbours along the second axis.
    constexpr int kRows = kAxes == 2 ? 3 : 1;
    std::int32_t row[kRows] = {static_cast<std::int32_t>(mine.row)};
    if constexpr (kAxes == 2) {
        const Neighbours near = lattice.neighbours[second * lattice.rows + mine.row];
        row[1] = near.before;
        row[2] = near.after;
    }
    Neighbours near[kRows];
    Pack<T, kWidth> own[kRows];
    for (int i = 0; i < kRows; ++i) {
        near[i] =
            row[i] >= 0 ? lattice.neighbours[first * lattice.rows + row[i]] : Neighbours{-1, -1};
        own[i] = row_or_zero(row[i]);
    }
    for (int i = 0; i < kRows; ++i) {
        Pack<T, kWidth> sum = row_or_zero(near[i].before);
        add_scaled(sum, T(1), row_or_zero(near[i].after));
        add_scaled(own[i], T(0.5), sum);
    }
    if constexpr (kAxes == 2) {
        add_scaled(own[1], T(1), own[2]);
        add_scaled(own[0], T(0.5), own[1]);
    }
    to[begin + mine.row * packs] = own[0];
}

// Blocks that share the long rows: about as many as run at once. How many rows there are
// is known on the device only.
constexpr std::int64_t kLongBlocks = 512;

// With fewer packs of a row, threads side by side would have rows side by side, of which the
// longest holds up the others.
constexpr std::int64_t kPacksWithoutParts = 3;

template <int kWidth, typename T, typename Points>
void splat_points(const RowsOnLattice<T>& on, const Points& points, T* values, const Place& place) {
    auto* rows = packs_at<kWidth>(values);
    const std::int64_t packs = on.lattice_rows() * on.shape.packs;
    const KnownDivisor by_packs(on.shape.packs);
    if (on.shape.packs < kPacksWithoutParts) {
        launch(&splat_rows<kWidth, 4, T, Points>, for_each(packs * 4), place, on, by_packs, points,
               rows);
    } else {
        launch(&splat_rows<kWidth, 1, T, Points>, for_each(packs), place, on, by_packs, points,
               rows);
    }
    const std::int64_t most = on.copies * (on.lattice.entries / kLongEntries);
    launch(&splat_long<kWidth, T, Points>, Shape{most < kLongBlocks ? most : kLongBlocks}, place,
           on, points, rows);
}

}  // namespace

template <typename T>
void splat(const RowsOnLattice<T>& on, const T* points, T* rows, const Place& place) {
    with_width(on.shape.width, [&](auto width) {
        constexpr int kWidth = decltype(width)::value;
        const std::int64_t packs = on.shape.packs;
        splat_points<kWidth>(
            on,
            PacksOfPoints<T, kWidth>{packs_at<kWidth>(points), on.lattice.points * packs,
                                     static_cast<std::uint32_t>(packs * sizeof(Pack<T, kWidth>))},
            rows, place);
    });
}

template <typename T>
void splat_ones(const RowsOnLattice<T>& on, T* rows, const Place& place) {
    splat_points<1>(on, OnesOfPoints<T, 1>{}, rows, place);
}

template <typename T>
BlurBuffers<T> blur(const RowsOnLattice<T>& on, BlurOrder order, BlurBuffers<T> buffers,
                    const Place& place) {
    with_width(on.shape.width, [&](auto width) {
        constexpr int kWidth = decltype(width)::value;
        const int last = on.lattice.dims;
        const auto axis = [&](int i) { return order == BlurOrder::kForward ? i : last - i; };
        const KnownDivisor packs(on.shape.packs);
        const Shape threads = for_each(on.lattice_rows() * on.shape.packs);
        for (int i = 0; i <= last; i += 2) {
            const bool two = i < last;
            launch(two ? &blur_axes<kWidth, 2, T> : &blur_axes<kWidth, 1, T>, threads, place, on,
                   packs, axis(i), two ? axis(i + 1) : -1, packs_at<kWidth>(buffers.rows),
                   packs_at<kWidth>(buffers.other));
            buffers = {buffers.other, buffers.rows};
        }
    });
    return buffers;
}

template void splat_ones(const RowsOnLattice<float>&, float*, const Place&);
template void splat_ones(const RowsOnLattice<double>&, double*, const Place&);
template void splat(const RowsOnLattice<float>&, const float*, float*, const Place&);
template void splat(const RowsOnLattice<double>&, const double*, double*, const Place&);
template BlurBuffers<float> blur(const RowsOnLattice<float>&, BlurOrder, BlurBuffers<float>,
                                 const Place&);
template BlurBuffers<double> blur(const RowsOnLattice<double>&, BlurOrder, BlurBuffers<double>,
                                  const Place&);

}  // namespace wsss_fast::cuda
