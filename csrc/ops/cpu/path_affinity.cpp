#include "ops/path_affinity.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "common/paths.h"

namespace wsss_fast {
namespace {

constexpr std::int64_t kForwardRows = 8;

// The backward pass takes bands of rows of the affinity. A band adds into rows of its own: those it
// starts on and the `reach` below them, which the next band also adds to. Bands depend on the sizes
// alone and are summed in order, so the bits do not depend on the threads.
struct Bands {
    std::int64_t rows;    // rows of affinity in a band
    std::int64_t count;   // bands an image
    std::int64_t height;  // rows of boundary that a band reaches
    std::int64_t reach;

    Bands(std::int64_t height_in, int radius) : reach(radius - 1) {
        rows = std::max<std::int64_t>(16, 2 * reach);
        count = (height_in - reach - 1) / rows + 1;
        height = rows + reach;
    }
};

template <typename T>
using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

// value where the mask is all ones, 0 where it is all zeros; whatever value is, NaN and infinities
// too.
template <typename T>
T masked(T value, Bits<T> mask) {
    Bits<T> bits;
    std::memcpy(&bits, &value, sizeof(bits));
    bits &= mask;
    std::memcpy(&value, &bits, sizeof(bits));
    return value;
}

// Takes what is left of the gradient where `values` holds the maximum, and adds it to `grad`. With
// masks, as a choice would become a branch and keep the loop from being vectorised.
template <typename T>
void hand_out(const T* __restrict values, const T* __restrict maximum, T* __restrict left,
              T* __restrict grad, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
        const Bits<T> here = values[i] == maximum[i] ? ~Bits<T>{0} : Bits<T>{0};
        const T rest = left[i];
        grad[i] += masked(rest, here);
        left[i] = masked(rest, static_cast<Bits<T>>(~here));
    }
}

}  // namespace

template <typename T>
void path_affinity(const PathAffinityParams<T>& params) {
    const Paths paths(params.radius);
    const std::int64_t reach = paths.reach();
    const std::int64_t height = params.height - reach;
    const std::int64_t width = params.width - 2 * reach;
    const auto neighbours = static_cast<std::int64_t>(paths.size());
    parallel_for(params.execution, params.images * height, kForwardRows,
                 [&](std::int64_t begin, std::int64_t end) {
                     std::vector<T> maximum(static_cast<std::size_t>(width));
                     for (std::int64_t item = begin; item < end; ++item) {
                         const std::int64_t image = item / height;
                         const std::int64_t y = item % height;
                         const T* source =
                             params.boundary + (image * params.height + y) * params.width + reach;
                         T* out = params.affinity + (image * neighbours * height + y) * width;
                         for (std::size_t p = 0; p < paths.size(); ++p, out += height * width) {
                             path_maximum(paths, p, source, params.width, width, maximum.data());
                             for (std::int64_t x = 0; x < width; ++x) {
                                 out[x] = T(1) - maximum[static_cast<std::size_t>(x)];
                             }
                         }
                     }
                 });
}

template <typename T>
std::int64_t path_affinity_backward_workspace_bytes(const PathAffinityBackwardParams<T>& params) {
    const Bands bands(params.height, params.radius);
    return params.images * bands.count * bands.height * params.width *
           static_cast<std::int64_t>(sizeof(T));
}

template <typename T>
void path_affinity_backward(const PathAffinityBackwardParams<T>& params) {
    const Paths paths(params.radius);
    const std::int64_t reach = paths.reach();
    const std::int64_t height = params.height - reach;
    const std::int64_t width = params.width - 2 * reach;
    const auto neighbours = static_cast<std::int64_t>(paths.size());
    const Bands bands(params.height, params.radius);
    const std::int64_t band_size = bands.height * params.width;
    T* const workspace = static_cast<T*>(params.workspace);

    parallel_for(
        params.execution, params.images * bands.count, 1,
        [&](std::int64_t begin, std::int64_t end) {
            std::vector<T> maximum(static_cast<std::size_t>(width));
            std::vector<T> left(static_cast<std::size_t>(width));
            for (std::int64_t item = begin; item < end; ++item) {
                const std::int64_t image = item / bands.count;
                const std::int64_t first = item % bands.count * bands.rows;
                T* const sums = workspace + item * band_size;
                std::fill(sums, sums + band_size, T(0));
                for (std::int64_t y = first; y < std::min(first + bands.rows, height); ++y) {
                    const T* source =
                        params.boundary + (image * params.height + y) * params.width + reach;
                    const T* grad =
                        params.grad_affinity + (image * neighbours * height + y) * width;
                    T* const target = sums + (y - first) * params.width + reach;
                    for (std::size_t p = 0; p < paths.size(); ++p, grad += height * width) {
                        path_maximum(paths, p, source, params.width, width, maximum.data());
                        for (std::int64_t x = 0; x < width; ++x) {
                            left[static_cast<std::size_t>(x)] = -grad[x];
                        }
                        for (const Offset* at = paths.begin(p); at != paths.end(p); ++at) {
                            const std::int64_t shift = at->dy * params.width + at->dx;
                            hand_out(source + shift, maximum.data(), left.data(), target + shift,
                                     width);
                        }
                    }
                }
            }
        });

    parallel_for(
        params.execution, params.images * params.height, bands.rows,
        [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t item = begin; item < end; ++item) {
                const std::int64_t image = item / params.height;
                const std::int64_t y = item % params.height;
                T* const out = params.grad_boundary + item * params.width;
                std::fill(out, out + params.width, T(0));
                const std::int64_t oldest = std::max<std::int64_t>(0, y - reach) / bands.rows;
                const std::int64_t newest = std::min(y / bands.rows, bands.count - 1);
                for (std::int64_t band = oldest; band <= newest; ++band) {
                    const std::int64_t row = y - band * bands.rows;
                    if (row >= bands.height) continue;
                    const T* const sums =
                        workspace + (image * bands.count + band) * band_size + row * params.width;
                    for (std::int64_t x = 0; x < params.width; ++x) out[x] += sums[x];
                }
            }
        });
}

template void path_affinity(const PathAffinityParams<float>&);
template std::int64_t path_affinity_backward_workspace_bytes(
    const PathAffinityBackwardParams<float>&);
template void path_affinity_backward(const PathAffinityBackwardParams<float>&);
template void path_affinity(const PathAffinityParams<double>&);
template std::int64_t path_affinity_backward_workspace_bytes(
    const PathAffinityBackwardParams<double>&);
template void path_affinity_backward(const PathAffinityBackwardParams<double>&);

}  // namespace wsss_fast
