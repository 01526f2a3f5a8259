#include "ops/cpu/lattice_values.h"

#include <algorithm>
#include <utility>

namespace wsss_fast {

// The loops over one row, with its width known to the compiler (0: known at run time only).
template <typename T>
template <int Width>
struct LatticeValues<T>::Rows {
    static int size(int width) { return Width > 0 ? Width : width; }

    static void splat(const LatticeView<T>& lattice, std::int64_t tile, int width, const T* values,
                      const T* scale, T* __restrict__ rows, T* __restrict__ extra) {
        const std::int64_t n = size(width);
        const int corners = lattice.corners();
        const std::int64_t begin = tile * kLatticeTile;
        const std::int64_t count = std::min(kLatticeTile, lattice.points - begin);
        const std::int64_t band = begin / kLatticeBandPoints;
        const LatticeRow* row = lattice.row + lattice.band[band];
        const auto target = [&](std::int32_t local) {
            const std::int32_t at = row[local].splat;
            return at >= 0 ? rows + at * n : extra + ~at * n;
        };
        // Rows are cleared just before they are first added to.
        const std::int32_t met = begin % kLatticeBandPoints == 0 ? 0 : lattice.fresh[tile - 1];
        for (std::int32_t local = met; local < lattice.fresh[tile]; ++local) {
            T* to = target(local);
            std::fill(to, to + n, T(0));
        }
        for (std::int64_t p = 0; p < count; ++p) {
            const std::int32_t* offset = lattice.offset + (begin + p) * corners;
            const T* weight = lattice.weight + (begin + p) * corners;
            const T s = scale ? scale[begin + p] : T(1);
            const T* __restrict__ from = values + p * n;
            for (int r = 0; r < corners; ++r) {
                T* __restrict__ to = target(offset[r]);
                const T w = weight[r] * s;
                for (std::int64_t c = 0; c < n; ++c) to[c] += w * from[c];
            }
        }
    }

    static void slice(const LatticeView<T>& lattice, std::int64_t tile, int width, T factor,
                      const T* scale, const T* __restrict__ rows, T* __restrict__ out) {
        const std::int64_t n = size(width);
        const int corners = lattice.corners();
        const std::int64_t begin = tile * kLatticeTile;
        const std::int64_t count = std::min(kLatticeTile, lattice.points - begin);
        const LatticeRow* row = lattice.row + lattice.band[begin / kLatticeBandPoints];
        for (std::int64_t p = 0; p < count; ++p) {
            const std::int32_t* offset = lattice.offset + (begin + p) * corners;
            const T* weight = lattice.weight + (begin + p) * corners;
            const T f = scale ? factor * scale[begin + p] : factor;
            T* __restrict__ to = out + p * n;
            for (int r = 0; r < corners; ++r) {
                const T* __restrict__ from = rows + row[offset[r]].vertex * n;
                const T w = weight[r] * f;
                for (std::int64_t c = 0; c < n; ++c) to[c] += w * from[c];
            }
        }
    }

    static void blur(const LatticeLink* link, std::int64_t begin, std::int64_t end, int width,
                     const T* __restrict__ in, T* __restrict__ out) {
        const std::int64_t n = size(width);
        for (std::int64_t v = begin; v < end; ++v) {
            const T* __restrict__ here = in + v * n;
            const T* __restrict__ before = in + link[v].before * n;
            const T* __restrict__ after = in + link[v].after * n;
            T* __restrict__ to = out + v * n;
            for (std::int64_t c = 0; c < n; ++c) to[c] = here[c] + T(0.5) * (before[c] + after[c]);
        }
    }

    static Kernels kernels() { return {&splat, &slice, &blur}; }
};

template <typename T>
typename LatticeValues<T>::Kernels LatticeValues<T>::kernels_for(int width) {
    switch (width) {
        case 1:
            return Rows<1>::kernels();
        case 2:
            return Rows<2>::kernels();
        case 4:
            return Rows<4>::kernels();
        case 8:
            return Rows<8>::kernels();
        case 12:
            return Rows<12>::kernels();
        case 16:
            return Rows<16>::kernels();
        case 24:
            return Rows<24>::kernels();
        default:
            return Rows<0>::kernels();
    }
}

template <typename T>
void LatticeValues<T>::prepare(const LatticeView<T>& lattice, int width) {
    lattice_ = lattice;
    width_ = width;
    kernels_ = kernels_for(width);
    result_ = 0;
    for (Buffer<T>& rows : rows_) {
        rows.resize((lattice.vertices + 1) * width);
        // What stands for a neighbour that is not there.
        std::fill(rows.data() + lattice.vertices * width, rows.data() + rows.size(), T(0));
    }
    extra_.resize(lattice.extras() * width);
}

template <typename T>
void LatticeValues<T>::blur(BlurOrder order, const Execution& execution) {
    const std::int64_t width = width_;
    const std::int64_t grain = std::max<std::int64_t>(1, (std::int64_t{1} << 16) / width);
    result_ = 1 - result_;  // the set that was splatted into
    // A vertex is at most once in a band, so the bands are added one after the other.
    for (std::int64_t b = 1; b < lattice_.bands(); ++b) {
        const std::int64_t first = lattice_.band[b];
        parallel_for(execution, lattice_.band[b + 1] - first, grain,
                     [&](std::int64_t begin, std::int64_t end) {
                         for (std::int64_t l = first + begin; l < first + end; ++l) {
                             const LatticeRow row = lattice_.row[l];
                             if (row.splat >= 0) continue;
                             T* to = rows_[result_].data() + row.vertex * width;
                             const T* from = extra_.data() + ~row.splat * width;
                             for (std::int64_t c = 0; c < width; ++c) to[c] += from[c];
                         }
                     });
    }
    const int corners = lattice_.corners();
    for (int i = 0; i < corners; ++i) {
        const int axis = order == BlurOrder::kForward ? i : corners - 1 - i;
        const T* in = rows_[result_].data();
        T* out = rows_[1 - result_].data();
        const LatticeLink* link = lattice_.link + axis * lattice_.vertices;
        parallel_for(execution, lattice_.vertices, grain,
                     [&](std::int64_t begin, std::int64_t end) {
                         kernels_.blur(link, begin, end, width_, in, out);
                     });
        result_ = 1 - result_;
    }
}

template class LatticeValues<float>;
template class LatticeValues<double>;

}  // namespace wsss_fast
