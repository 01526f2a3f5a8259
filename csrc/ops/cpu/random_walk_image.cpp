#include "ops/cpu/random_walk_image.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "common/buffer.h"
#include "common/scratch.h"

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
WalkImage<T>::WalkImage(const PathPlan& plan, std::int64_t height, std::int64_t width,
                        std::int64_t maps, WalkArena& arena, const Execution& execution)
    : plan_(plan), maps_(maps), layout_{}, execution_(execution) {
    layout_.height = height;
    layout_.width = width;
    layout_.count = static_cast<int>(plan.paths().size());
    layout_.reach = plan.paths().reach();
    layout_.stride = round_up(round_up(width, kUnit<T>) + layout_.reach, kUnit<T>);
    layout_.plane = layout_.stride * height;

    const std::int64_t row_of_weights = layout_.count * layout_.stride;
    ends_.assign(static_cast<std::size_t>(layout_.reach + 1), 0);
    for (const Offset& offset : plan.paths().offsets()) {
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
    // Every step waits for its slowest thread: with some ranges a thread, the others take over from
    // one that shares its core. No pixel is computed from another's result of the same step, so
    // where rows are cut changes no bit.
    constexpr std::int64_t kRangesOfThread = 4;
    rows_at_once_ = (height - 1) / (kRangesOfThread * execution_.threads) + 1;
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
    const WalkPaths<T> paths(plan_, layout_.height, layout_.width);
    Scratch<Buffer<T>> scratch;
    paths.for_bands(execution_, [&](const PathBands::Band& band) {
        const auto planes = scratch.take(paths.parts().size());
        paths.load(band, boundary, planes->data());
        for (std::int64_t y = 0; y < band.rows; ++y) {
            T* row = weights_ + pair_row(band.first + y);
            for (std::int64_t p = 0; p < layout_.count; ++p, row += layout_.stride) {
                const WalkSpan span = paths.span(p, band.first + y);
                std::fill(row, row + layout_.stride, T(0));
                path_loops<T>().affinity(paths.pieces(p), planes->data() + paths.at(y, span),
                                         span.count, row + span.begin);
                raise_affinities(row + span.begin, span.count, beta);
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

template class WalkImage<float>;
template class WalkImage<double>;

}  // namespace wsss_fast
