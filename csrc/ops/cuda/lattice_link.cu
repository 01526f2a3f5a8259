#include <limits>

#include "common/cuda/carve.h"
#include "common/cuda/divide.h"
#include "common/cuda/launch.h"
#include "ops/cuda/lattice.h"
#include "ops/cuda/lattice_simplex.h"
#include "ops/cuda/lattice_sorting.h"
#include "ops/cuda/lattice_view.h"

namespace wsss_fast::cuda {
namespace {

// Which rows belong to an image: those of the vertices of one image follow those of the image
// before.
struct RowsOfImages {
    const std::int32_t* rank;
    const std::int32_t* first;  // [images + 1] rows, and at the end how many there are
    std::int64_t of_image;      // corners

    // None of an image that has no room.
    __device__ bool has_room(std::int64_t image) const { return first[image] < first[image + 1]; }
};

// A thread for each image, and one for all: an image with more vertices than `capacity` gets no
// rows.
__global__ void find_first_rows(const std::int32_t* vertices, std::int64_t capacity,
                                std::int64_t images, const std::int32_t* bad, std::int32_t* first,
                                std::int32_t* used, std::int32_t* out) {
    const std::int64_t t = thread_number();
    if (t > images) return;
    std::int32_t before = 0;
    for (std::int64_t i = 0; i < t; ++i) before += vertices[i] <= capacity ? vertices[i] : 0;
    first[t] = before;
    if (t == images) {
        *used = before;
    } else {
        out[t] = bad[t] != 0 || vertices[t] > capacity ? 1 : 0;
    }
}

// A number for each corner, the corners of all points that have the same number side by side: the
// entries of a row are of points side by side, too, so that a warp that goes along them stays
// within a few pieces of memory.
template <typename T>
struct CornerPlanes {
    T* weight;          // [d+1][points] barycentric
    std::int32_t* row;  // [d+1][points] of its vertex
};

template <int kDims, typename T>
__global__ void weigh_points(LatticePoints<T> points, LatticeEmbedding<T> embedding,
                             KnownDivisor by_image, std::int64_t all, T* weight) {
    const std::int64_t t = thread_number();
    if (t >= all) return;
    const Quotient of_image = by_image.divide(t);
    Simplex<kDims, T> simplex;
    simplex_of_point(points, embedding, of_image.whole, of_image.rest, simplex);
    for_each_weight(simplex, embedding.dims, [&](int r, T own) { weight[r * all + t] = own; });
}

// After weigh_points: an entry has a copy of its weight.
template <typename T>
__global__ void place_vertices(SortedCorners corners, RowsOfImages rows, KnownDivisor by_image,
                               KnownDivisor by_corners, CornerPlanes<T> planes,
                               LatticeView<T> lattice, std::uint64_t* vertex_key) {
    const std::int64_t i = thread_number();
    if (i >= corners.count) return;
    const std::int64_t image = by_image.divide(i).whole;
    const std::uint32_t corner = corners.number[i];
    const Quotient of_point = by_corners.divide(corner);
    const std::int64_t at = of_point.rest * lattice.points + of_point.whole;
    const std::int32_t rank = rows.rank[i];
    const bool placed = rows.has_room(image);
    // Corners of an image that has no room lead somewhere, though nothing comes of it.
    const std::int32_t row =
        placed ? rows.first[image] + (rank - 1 - vertices_before(rows.rank, rows.of_image, image))
               : 0;
    planes.row[at] = row;
    lattice.entry[i] = {planes.weight[at], static_cast<std::int32_t>(of_point.whole)};
    if (!placed) return;
    if (i == 0 || rank != rows.rank[i - 1]) {
        lattice.begin[row] = static_cast<std::int32_t>(i);
        for (int w = 0; w < corners.words - 1; ++w)
            vertex_key[w * lattice.rows + row] = corners.key[w * corners.count + corner];
        vertex_key[(corners.words - 1) * lattice.rows + row] = corners.top_word[i];
    }
    if (i + 1 == corners.count || rank != rows.rank[i + 1])
        lattice.end[row] = static_cast<std::int32_t>(i + 1);
}

// The corners of a point side by side, for slices. To place vertices there in the first place takes
// five times as long as this and that: the points of a row then lie 48 bytes apart.
template <typename T>
__global__ void join_corners(CornerPlanes<T> planes, KnownDivisor by_corners,
                             LatticeView<T> lattice) {
    const std::int64_t i = thread_number();
    if (i >= lattice.entries) return;
    const Quotient of_point = by_corners.divide(i);
    const std::int64_t at = of_point.rest * lattice.points + of_point.whole;
    lattice.corner[i] = {planes.weight[at], planes.row[at]};
}

// The order in the list is any: each of its rows is summed up by itself.
template <typename T>
__global__ void list_long_rows(LatticeView<T> lattice) {
    const std::int64_t t = thread_number();
    if (t >= *lattice.used || lattice.end[t] - lattice.begin[t] <= kLongEntries) return;
    lattice.long_row[atomicAdd(lattice.long_count, 1)] = static_cast<std::int32_t>(t);
}

// Keys of rows, the last word first in their order. kWords: how many where it is known, or 0.
template <int kWords>
struct VertexKeys {
    const std::uint64_t* word;  // [words][rows]
    std::int64_t rows;
    int given_words;

    __device__ int words() const { return kWords > 0 ? kWords : given_words; }

    __device__ bool less(std::int32_t row, const std::uint64_t* key) const {
        for (int w = words() - 1; w > 0; --w) {
            const std::uint64_t own = word[w * rows + row];
            if (own != key[w]) return own < key[w];
        }
        return word[row] < key[0];
    }
    __device__ bool equal(std::int32_t row, const std::uint64_t* key) const {
        bool all = true;
        for (int w = 0; w < words(); ++w) all = all && word[w * rows + row] == key[w];
        return all;
    }

    // The first of the rows [begin, end), which are in order, whose key is not less; or end.
    __device__ std::int32_t lower_bound(const std::uint64_t* key, std::int32_t begin,
                                        std::int32_t end) const {
        while (begin < end) {
            const std::int32_t middle = begin + (end - begin) / 2;
            const bool below = less(middle, key);
            begin = below ? middle + 1 : begin;
            end = below ? end : middle;
        }
        return begin;
    }
};

// One thread for a row and an axis. Threads side by side look for keys that are in order too, so a
// warp goes through the same places together.
template <int kWords, typename T>
__global__ void link_neighbours(VertexKeys<kWords> keys, KeyLayout layout, RowsOfImages rows,
                                KnownDivisor by_rows, KnownDivisor by_points,
                                LatticeView<T> lattice) {
    const Quotient of_axis = by_rows.divide(thread_number());
    const int axis = static_cast<int>(of_axis.whole);
    const auto row = static_cast<std::int32_t>(of_axis.rest);
    if (axis >= lattice.corners() || row >= *lattice.used) return;
    std::uint64_t key[kWords > 0 ? kWords : kMaxKeyWords];
    for (int w = 0; w < keys.words(); ++w) key[w] = keys.word[w * keys.rows + row];
    const bool diagonal = axis == lattice.dims;
    const auto word_of = [&](int i) { return kWords == 1 ? 0 : layout.word[i]; };
    if (!diagonal) key[word_of(axis)] += key_step(layout, axis);
    for (int i = 0; i < lattice.dims && diagonal; ++i) key[word_of(i)] -= key_step(layout, i);
    const std::int64_t image = by_points.divide(lattice.entry[lattice.begin[row]].point).whole;
    // A step of one coordinate goes up in the order, that of all goes down. The first coordinate
    // lies in the lowest bits: no key comes between the two.
    const std::int32_t end = diagonal ? row : rows.first[image + 1];
    std::int32_t after = diagonal ? rows.first[image] : row + 1;
    if (axis != 0) after = keys.lower_bound(key, after, end);
    if (after >= end || !keys.equal(after, key)) return;
    Neighbours* neighbours = lattice.neighbours + axis * lattice.rows;
    neighbours[row].after = after;
    neighbours[after].before = row;
}

}  // namespace

template <typename T>
std::int64_t LatticeBuilder<T>::rows_of_capacity(std::int64_t capacity) const {
    return points_.images * room_of_image(capacity);
}

template <typename T>
std::int64_t LatticeBuilder<T>::linking_bytes(std::int64_t rows) const {
    Carve carve;
    carve.take<std::uint64_t>(rows * layout_.words);
    carve.take<std::int32_t>(points_.images + 1);
    carve.take<T>(corners_);
    carve.take<std::int32_t>(corners_);
    return carve.bytes();
}

template <typename T>
std::int64_t LatticeBuilder<T>::lattice_bytes(std::int64_t rows) const {
    return lattice_block_bytes<T>(points_.images, points(), points_.dims, rows);
}

template <typename T>
void LatticeBuilder<T>::link(std::int64_t rows, std::int64_t capacity, void* workspace,
                             void* lattice) {
    const std::int64_t bytes = lattice_bytes(rows);
    mark_unset(lattice, bytes);
    const LatticeView<T> view =
        view_lattice<T>(lattice, bytes, points_.images, points(), points_.dims);
    Carve carve(workspace);
    auto* vertex_key = carve.take<std::uint64_t>(rows * layout_.words);
    auto* first = carve.take<std::int32_t>(points_.images + 1);
    auto* weight = carve.take<T>(corners_);
    const CornerPlanes<T> planes{weight, carve.take<std::int32_t>(corners_)};

    // And the list that it counts, the block's last array: the same lattice has the same bytes.
    const std::int64_t before =
        reinterpret_cast<char*>(view.long_count) - static_cast<char*>(lattice);
    fill_bytes(view.long_count, 0, bytes - before, place_);
    // A neighbour that is not there is -1.
    fill_bytes(view.neighbours, 0xFF, rows * view.corners() * 8, place_);
    if (corners_ == 0) {
        fill_bytes(view.bad, 0, points_.images * 4, place_);
        fill_bytes(view.used, 0, 4, place_);
        return;
    }

    // Without a capacity any number has room.
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    launch(&find_first_rows, for_each(points_.images + 1), place_, vertices_,
           capacity > 0 ? capacity : kMost, points_.images, arrays_.bad, first, view.used,
           view.bad);
    const RowsOfImages rows_of{arrays_.rank, first, of_image_};
    auto weigh = &weigh_points<0, T>;
    if (points_.dims == 2) weigh = &weigh_points<2, T>;
    if (points_.dims == 5) weigh = &weigh_points<5, T>;
    const KnownDivisor by_points(points_.height * points_.width);
    const KnownDivisor by_corners(view.corners());
    launch(weigh, for_each(view.points), place_, points_, embedding_, by_points, view.points,
           planes.weight);
    launch(&place_vertices<T>, for_each(corners_), place_,
           sorted_corners(arrays_, corners_, of_image_, layout_.words), rows_of,
           KnownDivisor(of_image_), by_corners, planes, view, vertex_key);
    launch(&join_corners<T>, for_each(view.entries), place_, planes, by_corners, view);
    launch(&list_long_rows<T>, for_each(rows), place_, view);
    const Shape threads = for_each(rows * view.corners());
    const KnownDivisor by_rows(rows);
    if (layout_.words == 1) {
        launch(&link_neighbours<1, T>, threads, place_, VertexKeys<1>{vertex_key, rows, 1}, layout_,
               rows_of, by_rows, by_points, view);
    } else {
        launch(&link_neighbours<0, T>, threads, place_,
               VertexKeys<0>{vertex_key, rows, layout_.words}, layout_, rows_of, by_rows, by_points,
               view);
    }
}

// What is defined here of it.
template class LatticeBuilder<float>;
template class LatticeBuilder<double>;

}  // namespace wsss_fast::cuda
