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
    : paths_(plan, height, width), maps_(maps), layout_{}, execution_(execution) {
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
    levels_ = levels(execution_.threads);
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
    Scratch<Buffer<T>> scratch;
    paths_.for_bands(execution_, [&](const PathBands::Band& band) {
        const auto planes = scratch.take(paths_.parts().size());
        paths_.load(band, boundary, planes->data());
        for (std::int64_t y = 0; y < band.rows; ++y) {
            T* row = weights_ + pair_row(band.first + y);
            for (std::int64_t p = 0; p < layout_.count; ++p, row += layout_.stride) {
                const WalkSpan span = paths_.span(p, band.first + y);
                std::fill(row, row + layout_.stride, T(0));
                path_loops<T>().affinity(paths_.pieces(p), planes->data() + paths_.at(y, span),
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

// One, unless the weights are more than a last cache may hold: steps are then bound by the memory
// that each of them reads whole (at 376 x 500 six at a time take two thirds of the time).
template <typename T>
int WalkImage<T>::levels(std::int64_t threads) const {
    constexpr std::int64_t kCache = std::int64_t{16} << 20;
    const std::int64_t bytes = layout_.count * layout_.plane * static_cast<std::int64_t>(sizeof(T));
    if (bytes <= kCache) return 1;
    // Every thread's band has to be so high that what its two neighbours leave open of it stays
    // apart.
    const std::int64_t most = layout_.height / (2 * layout_.reach * threads) + 1;
    return static_cast<int>(std::min<std::int64_t>(kMostLevels, most));
}

template <typename T>
void WalkImage<T>::step_row(const WalkStep<T>& step, std::int64_t y) const {
    walk_loops<T>().step(layout_, weights_, inverse_degrees_, maps_, step, y);
}

// Several steps read the weights once: each follows the one before at the distance that its
// neighbours reach, row by row, while the weights are in a cache. Threads do so in bands of rows.
// Along the edge between two bands each step has to stay behind the one before, by that same
// distance, and what it leaves open there, ever more from step to step, comes after. No row is
// written over before the last step that reads it: that one lags by the very distance.
template <typename T>
void WalkImage<T>::pass(const WalkStep<T>* steps, int levels) const {
    if (levels == 1) {
        for_rows([&](std::int64_t first, std::int64_t last) {
            for (std::int64_t y = first; y < last; ++y) step_row(steps[0], y);
        });
        return;
    }
    const std::int64_t bands = execution_.threads;
    const std::int64_t reach = layout_.reach;
    const auto cut = [&](std::int64_t band) { return layout_.height * band / bands; };
    parallel_for(execution_, bands, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t band = begin; band < end; ++band) {
            for (std::int64_t front = cut(band); front < cut(band + 1) + (levels - 1) * reach;
                 ++front) {
                stop_if_cancelled(execution_);
                for (int level = 0; level < levels; ++level) {
                    const std::int64_t lag = level * reach;
                    const std::int64_t y = front - lag;
                    const std::int64_t first = band == 0 ? 0 : cut(band) + lag;
                    const std::int64_t last =
                        band == bands - 1 ? layout_.height : cut(band + 1) - lag;
                    if (y >= first && y < last) step_row(steps[level], y);
                }
            }
        }
    });
    parallel_for(execution_, bands - 1, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t band = begin; band < end; ++band) {
            for (int level = 1; level < levels; ++level) {
                const std::int64_t lag = level * reach;
                for (std::int64_t y = cut(band + 1) - lag; y < cut(band + 1) + lag; ++y) {
                    step_row(steps[level], y);
                }
            }
        }
    });
}

template <typename T>
void WalkImage<T>::chebyshev_sum(const std::vector<double>& coefficients, T* x, T* spare,
                                 T* sum) const {
    clear_maps(sum, maps_);
    const auto constant = static_cast<T>(coefficients[0]);
    for (std::int64_t at = 0; at < maps_ * layout_.plane; ++at) sum[at] = constant * x[at];
    const auto degree = static_cast<std::int64_t>(coefficients.size()) - 1;
    take_steps(degree, [&](std::int64_t k) {
        WalkStep<T> step = chebyshev_step(k, x, spare);
        step.sum = sum;
        step.coefficient = static_cast<T>(coefficients[static_cast<std::size_t>(k + 1)]);
        return step;
    });
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
