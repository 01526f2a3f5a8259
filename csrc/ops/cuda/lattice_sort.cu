#include <limits>

#include "common/cuda/carve.h"
#include "common/cuda/divide.h"
#include "common/cuda/launch.h"
#include "common/refuse.h"
#include "ops/cuda/lattice.h"
#include "ops/cuda/lattice_simplex.h"
#include "ops/cuda/lattice_sorting.h"

namespace wsss_fast::cuda {
namespace {

template <int kDims>
struct KeysOfBlock {
    std::uint64_t key[kThreads * (kDims + 1)];
};

// With known dimensions the corners of a block's points go through shared memory, so that threads
// side by side write keys side by side.
template <int kDims, int kWords, typename T>
__global__ void write_keys(LatticePoints<T> points, LatticeEmbedding<T> embedding, KeyLayout layout,
                           KnownDivisor by_image, std::int64_t corners, std::uint64_t* keys,
                           std::uint32_t* numbers, std::int32_t* bad) {
    static_assert((kDims > 0) == (kWords == 1));
    const std::int64_t t = thread_number();
    const int thread = static_cast<int>(threadIdx.x);
    const int d = kDims > 0 ? kDims : embedding.dims;
    if (t * (d + 1) < corners) {
        const Quotient of_image = by_image.divide(t);
        Simplex<kDims, T> simplex;
        if (!simplex_of_point(points, embedding, of_image.whole, of_image.rest, simplex))
            bad[of_image.whole] = 1;
        const auto write = [&](int r, const std::uint64_t* key) {
            if constexpr (kDims > 0) {
                block_shared<KeysOfBlock<kDims>>().key[thread * (kDims + 1) + r] = key[0];
            } else {
                const std::int64_t corner = t * (d + 1) + r;
                numbers[corner] = static_cast<std::uint32_t>(corner);
                for (int w = 0; w < layout.words; ++w) keys[w * corners + corner] = key[w];
            }
        };
        for_each_key<kDims, kWords>(layout, simplex, d, of_image.whole, write);
    }
    if constexpr (kDims > 0) {
        __syncthreads();
        const auto& of_block = block_shared<KeysOfBlock<kDims>>();
        const std::int64_t first = (t - thread) * (kDims + 1);
        for (int i = thread; i < kThreads * (kDims + 1); i += kThreads) {
            if (first + i >= corners) break;
            keys[first + i] = of_block.key[i];
            numbers[first + i] = static_cast<std::uint32_t>(first + i);
        }
    }
}

// A word of the keys in the order that the words before it gave.
__global__ void gather_word(const std::uint64_t* word, const std::uint32_t* number,
                            std::int64_t count, std::uint64_t* out) {
    const std::int64_t t = thread_number();
    if (t < count) out[t] = word[number[t]];
}

__global__ void mark_first(SortedCorners corners, std::int32_t* first) {
    const std::int64_t t = thread_number();
    if (t < corners.count) first[t] = t == 0 || corners.differs(t) ? 1 : 0;
}

__global__ void count_vertices(const std::int32_t* rank, std::int64_t of_image, std::int64_t images,
                               std::int32_t* vertices) {
    const std::int64_t t = thread_number();
    if (t >= images) return;
    vertices[t] = vertices_before(rank, of_image, t + 1) - vertices_before(rank, of_image, t);
}

}  // namespace

template <typename T>
LatticeBuilder<T>::LatticeBuilder(const char* name, const LatticePoints<T>& points,
                                  const Place& place)
    : points_(points), place_(place), embedding_(points.dims) {
    const std::int64_t of_image = points.height * points.width;
    of_image_ = of_image * (points.dims + 1);
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max() - 1;
    if (of_image > 0 && points.images > kMost / (points.dims + 1) / of_image) {
        refuse(name, ": expected at most 2^31 / (d + 1) points, got ", points.images * of_image);
    }
    corners_ = points.images * of_image_;
    double least[kMaxLatticeCorners];
    double most[kMaxLatticeCorners];
    if (points.kind == CrfFeatures::kGiven) {
        // Whether they do reach so far is known on the device only.
        for (int i = 0; i <= points.dims; ++i) {
            most[i] = kLatticeReach<T>;
            least[i] = -most[i];
        }
    } else {
        const T low[5] = {};
        const T high[5] = {static_cast<T>(points.width - 1) / points.sxy[0],
                           static_cast<T>(points.height - 1) / points.sxy[1],
                           T(255) / points.srgb[0], T(255) / points.srgb[1],
                           T(255) / points.srgb[2]};
        embedding_.bounds(name, low, high, least, most);
    }
    layout_ = KeyLayout(points.dims, points.images, least, most);
    const OnDevice on_device(place_);
    scratch_bytes_ = sum_scratch_bytes(corners_);
    for (int w = 0; w < layout_.words; ++w) {
        const std::int64_t bytes = sort_scratch_bytes(corners_, layout_.bits[w]);
        if (bytes > scratch_bytes_) scratch_bytes_ = bytes;
    }
}

template <typename T>
SortingArrays LatticeBuilder<T>::cut(Carve& carve) const {
    SortingArrays arrays;
    arrays.bad = carve.take<std::int32_t>(points_.images);
    arrays.rank = carve.take<std::int32_t>(corners_);
    arrays.key = carve.take<std::uint64_t>(corners_ * layout_.words);
    // Keys of one word need not be gathered before they are sorted.
    arrays.pairs.keys = layout_.words == 1 ? arrays.key : carve.take<std::uint64_t>(corners_);
    arrays.pairs.other_keys = carve.take<std::uint64_t>(corners_);
    arrays.pairs.numbers = carve.take<std::uint32_t>(corners_);
    arrays.pairs.other_numbers = carve.take<std::uint32_t>(corners_);
    arrays.scratch = carve.take<char>(scratch_bytes_);
    return arrays;
}

template <typename T>
std::int64_t LatticeBuilder<T>::sorting_bytes() const {
    Carve carve;
    cut(carve);
    return carve.bytes();
}

template <typename T>
void LatticeBuilder<T>::sort(void* workspace, std::int32_t* vertices) {
    Carve carve(workspace);
    arrays_ = cut(carve);
    vertices_ = vertices;
    if (corners_ == 0) {
        fill_bytes(vertices, 0, points_.images * 4, place_);
        return;
    }
    fill_bytes(arrays_.bad, 0, points_.images * 4, place_);

    const bool one = layout_.words == 1;
    auto write = &write_keys<0, 0, T>;
    if (one && points_.dims == 2) write = &write_keys<2, 1, T>;
    if (one && points_.dims == 5) write = &write_keys<5, 1, T>;
    SortedPairs& pairs = arrays_.pairs;
    launch(write, for_each(points()), place_, points_, embedding_, layout_,
           KnownDivisor(points_.height * points_.width), corners_, arrays_.key, pairs.numbers,
           arrays_.bad);
    // From the lowest word to the highest, each sort keeping the order of those before.
    for (int w = 0; w < layout_.words; ++w) {
        if (!one) {
            launch(&gather_word, for_each(corners_), place_, arrays_.key + w * corners_,
                   pairs.numbers, corners_, pairs.keys);
        }
        sort_pairs(pairs, corners_, layout_.bits[w], arrays_.scratch, scratch_bytes_, place_);
    }
    launch(&mark_first, for_each(corners_), place_,
           sorted_corners(arrays_, corners_, of_image_, layout_.words), arrays_.rank);
    running_sum(arrays_.rank, corners_, arrays_.scratch, scratch_bytes_, place_);
    launch(&count_vertices, for_each(points_.images), place_, arrays_.rank, of_image_,
           points_.images, vertices);
}

// What is defined here of it.
template class LatticeBuilder<float>;
template class LatticeBuilder<double>;

}  // namespace wsss_fast::cuda
