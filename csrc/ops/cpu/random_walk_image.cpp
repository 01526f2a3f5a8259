#include "ops/cpu/random_walk_image.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

namespace wsss_fast {
namespace {

// Fewer multiply-adds are done before another thread has woken up.
constexpr std::int64_t kStepOfThread = 200'000;

constexpr std::int64_t round_up(std::int64_t value, std::int64_t unit) {
    return (value + unit - 1) / unit * unit;
}

template <typename T>
constexpr std::int64_t kUnit = WalkLayout::kAlignment / static_cast<std::int64_t>(sizeof(T));

}  // namespace

template <typename T>
void raise_affinities(T* values, std::int64_t count, double exponent) {
    constexpr double kLargestInteger = 64;
    constexpr T kNothing = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();
    if (exponent >= 0 && exponent == std::floor(exponent) && exponent <= kLargestInteger) {
        walk_loops<T>().raise(values, count, static_cast<int>(exponent));
        return;
    }
    for (std::int64_t i = 0; i < count; ++i) {
        const T power = std::pow(values[i], static_cast<T>(exponent));
        values[i] = power < kNothing ? T(0) : power;
    }
}

WalkSpan::WalkSpan(const WalkLayout& layout, const Offset& offset, std::int64_t y)
    : begin(std::max<std::int64_t>(0, -offset.dx)),
      end(std::min(layout.width, layout.width - offset.dx)) {
    if (y + offset.dy >= layout.height || end < begin) end = begin;
}

template <typename T>
WalkImage<T>::WalkImage(const Paths& paths, std::int64_t height, std::int64_t width,
                        std::int64_t maps, WalkArena& arena, const Execution& execution)
    : paths_(paths), maps_(maps), layout_{}, execution_(execution) {
    layout_.height = height;
    layout_.width = width;
    layout_.count = static_cast<int>(paths.size());
    layout_.reach = paths.reach();
    layout_.stride = round_up(round_up(width, kUnit<T>) + layout_.reach, kUnit<T>);
    layout_.plane = layout_.stride * height;

    const std::int64_t row_of_weights = layout_.count * layout_.stride;
    ends_.assign(static_cast<std::size_t>(layout_.reach + 1), 0);
    for (const Offset& offset : paths.offsets()) {
        const std::int64_t weight = static_cast<std::int64_t>(neighbours_.size()) * layout_.stride;
        neighbours_.push_back({offset.dy * layout_.stride + offset.dx, weight,
                               weight - offset.dy * row_of_weights - offset.dx});
        for (int dy = offset.dy; dy <= layout_.reach; ++dy) ++ends_[static_cast<std::size_t>(dy)];
    }
    layout_.neighbours = neighbours_.data();
    layout_.ends = ends_.data();

    const std::int64_t threads = 2 * layout_.count * layout_.plane * maps / kStepOfThread;
    execution_.threads =
        static_cast<int>(std::clamp<std::int64_t>(threads, 1, std::max(execution_.threads, 1)));
    // A range a thread, so that a thread meets the same rows step after step, in its own cache.
    rows_at_once_ = (height - 1) / execution_.threads + 1;
    weights_ = take_pairs(arena);
    inverse_degrees_ = take_maps(arena, 1);
}

template <typename T>
std::int64_t WalkImage<T>::edge() const {
    return round_up(layout_.reach, kUnit<T>);
}

template <typename T>
T* WalkImage<T>::take_maps(WalkArena& arena, std::int64_t maps) const {
    T* const memory = arena.take<T>(maps * layout_.plane + 2 * edge());
    return memory ? memory + edge() : nullptr;
}

template <typename T>
T* WalkImage<T>::take_pairs(WalkArena& arena) const {
    T* const memory = arena.take<T>(layout_.count * layout_.plane + 2 * edge());
    return memory ? memory + edge() : nullptr;
}

template <typename T>
void WalkImage<T>::clear_maps(T* maps, std::int64_t count) const {
    std::fill(maps - edge(), maps + count * layout_.plane + edge(), T(0));
}

template <typename T>
void WalkImage<T>::clear_pairs(T* pairs) const {
    std::fill(pairs - edge(), pairs + layout_.count * layout_.plane + edge(), T(0));
}

template <typename T>
void WalkImage<T>::build(const T* boundary, double beta) {
    std::fill(weights_ - edge(), weights_, T(0));
    T* const end = weights_ + layout_.count * layout_.plane;
    std::fill(end, end + edge(), T(0));
    for_rows([&](std::int64_t first, std::int64_t last) {
        for (std::int64_t y = first; y < last; ++y) {
            T* row = weights_ + pair_row(y);
            for (std::size_t p = 0; p < paths_.size(); ++p, row += layout_.stride) {
                const WalkSpan span(layout_, paths_.offset(p), y);
                std::fill(row, row + layout_.stride, T(0));
                if (span.begin == span.end) continue;
                path_maximum(paths_, p, boundary + y * layout_.width + span.begin, layout_.width,
                             span.end - span.begin, row + span.begin);
                for (std::int64_t x = span.begin; x < span.end; ++x) row[x] = T(1) - row[x];
                raise_affinities(row + span.begin, span.end - span.begin, beta);
            }
        }
    });
    clear_maps(inverse_degrees_, 1);
    for_rows([&](std::int64_t first, std::int64_t last) {
        for (std::int64_t y = first; y < last; ++y) {
            walk_loops<T>().invert_degrees(layout_, weights_, y, inverse_degrees_);
        }
    });
}

template <typename T>
void WalkImage<T>::step(const WalkStep<T>& step) const {
    for_rows([&](std::int64_t first, std::int64_t last) {
        for (std::int64_t y = first; y < last; ++y) {
            walk_loops<T>().step(layout_, weights_, inverse_degrees_, maps_, step, y);
        }
    });
}

template <typename T>
void WalkImage<T>::chebyshev_sum(const std::vector<double>& coefficients, T* x, T* spare,
                                 T* sum) const {
    clear_maps(sum, maps_);
    const auto constant = static_cast<T>(coefficients[0]);
    for (std::int64_t at = 0; at < maps_ * layout_.plane; ++at) sum[at] = constant * x[at];
    for (std::size_t k = 1; k < coefficients.size(); ++k) {
        const auto coefficient = static_cast<T>(coefficients[k]);
        step(k == 1 ? WalkStep<T>{x, spare, T(1), T(0), sum, coefficient}
                    : WalkStep<T>{x, spare, T(2), T(1), sum, coefficient});
        std::swap(x, spare);
    }
}

template <typename T>
void WalkImage<T>::gradient_step(const WalkGradientStep<T>& step) const {
    for_rows([&](std::int64_t first, std::int64_t last) {
        for (std::int64_t y = first; y < last; ++y) {
            walk_loops<T>().gradient_step(layout_, weights_, inverse_degrees_, maps_, step, y);
        }
    });
}

template void raise_affinities(float*, std::int64_t, double);
template void raise_affinities(double*, std::int64_t, double);
template class WalkImage<float>;
template class WalkImage<double>;

}  // namespace wsss_fast
