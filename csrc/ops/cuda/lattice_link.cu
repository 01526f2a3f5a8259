#include "common/cuda/carve.h"
#include "common/cuda/launch.h"
#include "ops/cuda/lattice.h"
#include "ops/cuda/lattice_simplex.h"
#include "ops/cuda/lattice_sorting.h"
#include "ops/cuda/lattice_view.h"

namespace wsss_fast::cuda {
namespace {

// Which rows belong to an image: all that its vertices take, or as many as it may have.
struct RowsOfImages {
    const std::int32_t* rank;
    const std::int32_t* vertices;
    std::int64_t of_image;  // corners
    std::int64_t capacity;  // or 0

    __device__ bool has_room(std::int64_t image) const {
        return capacity == 0 || vertices[image] <= capacity;
    }
    __device__ std::int64_t first(std::int64_t image) const {
        return capacity > 0 ? image * capacity : vertices_before(rank, of_image, image);
    }
};

__global__ void mark_bad_images(RowsOfImages rows, const std::int32_t* bad, std::int64_t images,
                                std::int32_t* out) {
    const std::int64_t t = thread_number();
    if (t < images) out[t] = bad[t] != 0 || !rows.has_room(t) ? 1 : 0;
}

template <typename T>
__global__ void place_vertices(SortedCorners corners, RowsOfImages rows, LatticeView<T> lattice,
                               std::uint64_t* vertex_key) {
    const std::int64_t i = thread_number();
    if (i >= corners.count) return;
    const std::int64_t image = i / corners.of_image;
    const std::uint32_t corner = corners.number[i];
    const auto point =
        static_cast<std::int32_t>(corner / static_cast<std::uint32_t>(lattice.corners()));
    const int r = static_cast<int>(corner % static_cast<std::uint32_t>(lattice.corners()));
    const bool placed = rows.has_room(image);
    // Corners of an image that has no room lead somewhere, though nothing comes of it.
    const std::int64_t row =
        placed ? rows.first(image) +
                     (rows.rank[i] - 1 - vertices_before(rows.rank, rows.of_image, image))
               : 0;
    lattice.offset[r * lattice.points + point] = static_cast<std::int32_t>(row);
    lattice.entry_point[i] = point;
    if (!placed) return;
    if (i == 0 || rows.rank[i] != rows.rank[i - 1]) {
        lattice.begin[row] = static_cast<std::int32_t>(i);
        for (int w = 0; w < corners.words - 1; ++w)
            vertex_key[w * lattice.rows + row] = corners.key[w * corners.count + corner];
        vertex_key[(corners.words - 1) * lattice.rows + row] = corners.top_word[i];
    }
    if (i + 1 == corners.count || rows.rank[i] != rows.rank[i + 1])
        lattice.end[row] = static_cast<std::int32_t>(i + 1);
}

template <int kDims, typename T>
__global__ void weigh_points(LatticePoints<T> points, LatticeEmbedding<T> embedding,
                             LatticeView<T> lattice) {
    const std::int64_t t = thread_number();
    if (t >= lattice.points) return;
    const std::int64_t of_image = points.height * points.width;
    Simplex<kDims, T> simplex;
    simplex_of_point(points, embedding, t / of_image, t % of_image, simplex);
    write_weights(simplex, embedding.dims, lattice.points, lattice.weight + t);
}

template <typename T>
__global__ void weigh_entries(const std::uint32_t* number, LatticeView<T> lattice) {
    const std::int64_t t = thread_number();
    if (t >= lattice.entries) return;
    const auto corners = static_cast<std::uint32_t>(lattice.corners());
    const std::int64_t r = number[t] % corners;
    lattice.entry_weight[t] = lattice.weight[r * lattice.points + number[t] / corners];
}

// The order in the list is any: each of its rows is summed up by itself.
template <typename T>
__global__ void list_long_rows(LatticeView<T> lattice) {
    const std::int64_t t = thread_number();
    if (t >= lattice.rows || lattice.end[t] - lattice.begin[t] <= kLongEntries) return;
    lattice.long_row[atomicAdd(lattice.long_count, 1)] = static_cast<std::int32_t>(t);
}

// Keys of rows, the last word first in their order.
struct VertexKeys {
    const std::uint64_t* word;  // [words][rows]
    std::int64_t rows;
    int words;

    // -1, 0 or 1: the row's key is less than, equal to or greater than this one.
    __device__ int compare(std::int64_t row, const std::uint64_t* key) const {
        for (int w = words - 1; w >= 0; --w) {
            const std::uint64_t own = word[w * rows + row];
            if (own != key[w]) return own < key[w] ? -1 : 1;
        }
        return 0;
    }

    // The row in [begin, end), which are in order, that has the key; or -1.
    __device__ std::int64_t find(const std::uint64_t* key, std::int64_t begin,
                                 std::int64_t end) const {
        while (begin < end) {
            const std::int64_t middle = begin + (end - begin) / 2;
            const int order = compare(middle, key);
            if (order == 0) return middle;
            if (order < 0) {
                begin = middle + 1;
            } else {
                end = middle;
            }
        }
        return -1;
    }
};

// One thread for a row and an axis. Threads side by side look for keys that are in order too, so a
// warp goes through the same places together.
template <typename T>
__global__ void link_neighbours(VertexKeys keys, KeyLayout layout, RowsOfImages rows,
                                std::int64_t points_of_image, LatticeView<T> lattice) {
    const std::int64_t t = thread_number();
    if (t >= lattice.rows * lattice.corners()) return;
    const int axis = static_cast<int>(t / lattice.rows);
    const std::int64_t row = t % lattice.rows;
    if (lattice.begin[row] == lattice.end[row]) return;
    std::uint64_t key[kMaxKeyWords];
    for (int w = 0; w < keys.words; ++w) key[w] = keys.word[w * keys.rows + row];
    const bool diagonal = axis == lattice.dims;
    if (!diagonal) key[layout.word[axis]] += key_step(layout, axis);
    for (int i = 0; i < lattice.dims && diagonal; ++i) key[layout.word[i]] -= key_step(layout, i);
    const std::int64_t image = lattice.entry_point[lattice.begin[row]] / points_of_image;
    const std::int64_t first = rows.first(image);
    // A step of one coordinate goes up in the order, that of all goes down.
    const std::int64_t after =
        keys.find(key, diagonal ? first : row + 1, diagonal ? row : first + rows.vertices[image]);
    if (after < 0) return;
    Neighbours* neighbours = lattice.neighbours + axis * lattice.rows;
    neighbours[row].after = static_cast<std::int32_t>(after);
    neighbours[after].before = static_cast<std::int32_t>(row);
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

    fill_bytes(view.long_count, 0, 4, place_);
    // Rows that no vertex takes have no entries; a neighbour that is not there is -1.
    fill_bytes(view.begin, 0, rows * 4, place_);
    fill_bytes(view.end, 0, rows * 4, place_);
    fill_bytes(view.neighbours, 0xFF, rows * view.corners() * 8, place_);
    if (corners_ == 0) {
        fill_bytes(view.bad, 0, points_.images * 4, place_);
        return;
    }

    const RowsOfImages rows_of{arrays_.rank, vertices_, of_image_, room_of_image(capacity)};
    launch(&mark_bad_images, for_each(points_.images), place_, rows_of, arrays_.bad, points_.images,
           view.bad);
    launch(&place_vertices<T>, for_each(corners_), place_,
           sorted_corners(arrays_, corners_, of_image_, layout_.words), rows_of, view, vertex_key);
    auto weigh = &weigh_points<0, T>;
    if (points_.dims == 2) weigh = &weigh_points<2, T>;
    if (points_.dims == 5) weigh = &weigh_points<5, T>;
    launch(weigh, for_each(view.points), place_, points_, embedding_, view);
    launch(&weigh_entries<T>, for_each(view.entries), place_, arrays_.pairs.numbers, view);
    launch(&list_long_rows<T>, for_each(rows), place_, view);
    launch(&link_neighbours<T>, for_each(rows * view.corners()), place_,
           VertexKeys{vertex_key, rows, layout_.words}, layout_, rows_of,
           points_.height * points_.width, view);
}

// What is defined here of it.
template class LatticeBuilder<float>;
template class LatticeBuilder<double>;

}  // namespace wsss_fast::cuda
