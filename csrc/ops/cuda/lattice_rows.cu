#include "common/cuda/divide.h"
#include "common/cuda/launch.h"
#include "ops/cuda/lattice_rows.h"
#include "ops/cuda/lattice_slice.h"

namespace wsss_fast::cuda {
namespace {

// The sum over entries begin, begin + step, ... of one pack of a row.
template <typename T, int kWidth>
__device__ Pack<T, kWidth> sum_entries(const LatticeView<T>& lattice, std::int64_t begin,
                                       std::int64_t end, std::int64_t step,
                                       const Pack<T, kWidth>* points, std::int64_t packs) {
    Pack<T, kWidth> sum = zero_pack<T, kWidth>();
#if defined(__CUDACC__)
#pragma unroll 4  // so many loads are under way at once
#endif
    for (std::int64_t i = begin; i < end; i += step) {
        const T weight = lattice.entry_weight[i];
        if (points) {
            add_scaled(sum, weight, points[lattice.entry_point[i] * packs]);
        } else {
            for (int k = 0; k < kWidth; ++k) sum.value[k] += weight;
        }
    }
    return sum;
}

// How many packs of a row a team of threads sums up at a time, a power of two. As many threads as a
// pack has values share each of them, and with it a warp has 32 / width.
int packs_abreast(const RowShape& shape) {
    int packs = 1;
    while (packs * shape.width < 32 && packs < shape.packs) packs *= 2;
    return packs;
}

// Sums up the packs of kWidth threads side by side. The thread of number `part` among them gets the
// value of that number.
template <typename T, int kWidth>
__device__ T sum_of_parts(Pack<T, kWidth> pack, int part) {
    for (int half = kWidth / 2; half > 0; half /= 2) {
        const bool upper = (part & half) != 0;
        for (int k = 0; k < half; ++k) {
            const T give = upper ? pack.value[k] : pack.value[k + half];
            const T keep = upper ? pack.value[k + half] : pack.value[k];
            pack.value[k] = keep + __shfl_xor_sync(0xFFFFFFFFu, give, half);
        }
    }
    return pack.value[0];
}

// A team for each row, whose threads have a part of the entries each. Long rows are left to
// splat_long, but all threads of a warp go through its shuffles.
template <int kWidth, typename T>
__global__ void splat_rows(RowsOnLattice<T> on, int abreast, const Pack<T, kWidth>* points,
                           T* rows) {
    const LatticeView<T>& lattice = on.lattice;
    const std::int64_t packs = on.shape.packs;
    const Quotient of_team = divide(thread_number(), abreast * kWidth);
    const int part = static_cast<int>(of_team.rest) % kWidth;
    const bool real = of_team.whole < on.copies * lattice.rows;
    const std::int64_t row = real ? of_team.whole : 0;
    const Quotient of_copy = divide(row, lattice.rows);
    const std::int64_t begin = lattice.begin[of_copy.rest];
    const std::int64_t end = lattice.end[of_copy.rest];
    const bool mine = real && end - begin <= kLongEntries;
    if (points) points += of_copy.whole * lattice.points * packs;
    for (std::int64_t first = 0; first < packs; first += abreast) {
        const std::int64_t pack = first + of_team.rest / kWidth;
        Pack<T, kWidth> sum = zero_pack<T, kWidth>();
        if (mine && pack < packs) {
            sum = sum_entries(lattice, begin + part, end, kWidth, points ? points + pack : nullptr,
                              packs);
        }
        const T value = sum_of_parts(sum, part);
        if (mine && pack < packs) rows[(row * packs + pack) * kWidth + part] = value;
    }
}

template <typename T, int kWidth>
struct LongSums {
    Pack<T, kWidth> part[kThreads];
};

// A block for a row of a copy at a time: several parts of its entries at once, added up in pairs.
template <int kWidth, typename T>
__global__ void splat_long(RowsOnLattice<T> on, const Pack<T, kWidth>* points,
                           Pack<T, kWidth>* rows) {
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
        const std::int64_t begin = lattice.begin[row];
        const std::int64_t end = lattice.end[row];
        for (std::int64_t first = 0; first < packs; first += abreast) {
            const std::int64_t pack = first + thread % abreast;
            if (busy && pack < packs) {
                sums.part[thread] = sum_entries(
                    lattice, begin + part, end, parts,
                    points ? points + copy * lattice.points * packs + pack : nullptr, packs);
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

template <int kWidth, typename T>
__global__ void blur_axis(RowsOnLattice<T> on, int axis, const Pack<T, kWidth>* from,
                          Pack<T, kWidth>* to) {
    const LatticeView<T>& lattice = on.lattice;
    const std::int64_t packs = on.shape.packs;
    const std::int64_t t = thread_number();
    if (t >= on.copies * lattice.rows * packs) return;
    const Quotient of_row = divide(t, packs);
    const Quotient of_copy = divide(of_row.whole, lattice.rows);
    const Neighbours near = lattice.neighbours[axis * lattice.rows + of_copy.rest];
    const Pack<T, kWidth>* rows = from + of_copy.whole * lattice.rows * packs + of_row.rest;
    Pack<T, kWidth> sum = zero_pack<T, kWidth>();
    if (near.before >= 0) add_scaled(sum, T(1), rows[near.before * packs]);
    if (near.after >= 0) add_scaled(sum, T(1), rows[near.after * packs]);
    Pack<T, kWidth> own = from[t];
    add_scaled(own, T(0.5), sum);
    to[t] = own;
}

// Blocks that share the long rows: about as many as run at once. How many rows there are
// is known on the device only.
constexpr std::int64_t kLongBlocks = 512;

}  // namespace

template <typename T>
void splat(const RowsOnLattice<T>& on, const T* points, T* rows, const Place& place) {
    with_width(on.shape.width, [&](auto width) {
        constexpr int kWidth = decltype(width)::value;
        const int abreast = packs_abreast(on.shape);
        launch(&splat_rows<kWidth, T>, for_each(on.lattice_rows() * abreast * kWidth), place, on,
               abreast, packs_at<kWidth>(points), rows);
        const std::int64_t most = on.copies * (on.lattice.entries / kLongEntries);
        launch(&splat_long<kWidth, T>, Shape{most < kLongBlocks ? most : kLongBlocks}, place, on,
               packs_at<kWidth>(points), packs_at<kWidth>(rows));
    });
}

template <typename T>
BlurBuffers<T> blur(const RowsOnLattice<T>& on, BlurOrder order, BlurBuffers<T> buffers,
                    const Place& place) {
    with_width(on.shape.width, [&](auto width) {
        constexpr int kWidth = decltype(width)::value;
        for (int i = 0; i <= on.lattice.dims; ++i) {
            const int axis = order == BlurOrder::kForward ? i : on.lattice.dims - i;
            launch(&blur_axis<kWidth, T>, for_each(on.lattice_rows() * on.shape.packs), place, on,
                   axis, packs_at<kWidth>(buffers.rows), packs_at<kWidth>(buffers.other));
            buffers = {buffers.other, buffers.rows};
        }
    });
    return buffers;
}

template void splat(const RowsOnLattice<float>&, const float*, float*, const Place&);
template void splat(const RowsOnLattice<double>&, const double*, double*, const Place&);
template BlurBuffers<float> blur(const RowsOnLattice<float>&, BlurOrder, BlurBuffers<float>,
                                 const Place&);
template BlurBuffers<double> blur(const RowsOnLattice<double>&, BlurOrder, BlurBuffers<double>,
                                  const Place&);

}  // namespace wsss_fast::cuda
