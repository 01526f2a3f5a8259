#pragma once

#include <cstdint>
#include <vector>

#include "common/parallel.h"
#include "common/path_plan.h"
#include "ops/cpu/random_walk_isa.h"
#include "ops/cpu/random_walk_paths.h"

namespace wsss_fast {

// Hands out pieces of a block of memory, each aligned for any register. Without a block (null) it
// only counts.
class WalkArena {
  public:
    explicit WalkArena(void* memory) : memory_(static_cast<char*>(memory)) {}

    template <typename T>
    T* take(std::int64_t count) {
        constexpr std::int64_t kUnit = WalkLayout::kAlignment;
        char* const piece = memory_ ? memory_ + bytes_ : nullptr;
        bytes_ += (count * static_cast<std::int64_t>(sizeof(T)) + kUnit - 1) / kUnit * kUnit;
        return reinterpret_cast<T*>(piece);
    }

    std::int64_t bytes() const { return bytes_; }

  private:
    char* memory_;
    std::int64_t bytes_ = 0;
};

// From P_k(T) x to P_(k+1)(T) x, which takes the place of P_(k-1)(T) x: those of even k are in
// `even`, the others in `odd`, which has to be clear at first.
template <typename T>
WalkStep<T> chebyshev_step(std::int64_t k, T* even, T* odd) {
    WalkStep<T> step{};
    step.current = k % 2 == 0 ? even : odd;
    step.previous = k % 2 == 0 ? odd : even;
    step.scale = k == 0 ? T(1) : T(2);
    step.keep = k == 0 ? T(0) : T(1);
    return step;
}

// A value of maps: where it is in an array [maps, height, width] and in maps as an image lays them
// out, and where its pixel is in one map of either.
struct WalkValue {
    std::int64_t i;
    std::int64_t at;
    std::int64_t pixel;
    std::int64_t pixel_at;
};

// One image as the walk sees it: the weights of its pixels' neighbours, and steps over its maps.
template <typename T>
class WalkImage {
  public:
    // Threads are put to work on the rows, where there is enough for them to do.
    WalkImage(const PathPlan& plan, std::int64_t height, std::int64_t width, std::int64_t maps,
              WalkArena& arena, const Execution& execution);
    // `layout_` points into the vectors.
    WalkImage(const WalkImage&) = delete;
    WalkImage& operator=(const WalkImage&) = delete;

    // Fills the weights and the degrees.
    void build(const T* boundary, double beta);

    // Maps of this layout, and room for as many; the pointer is to the first pixel of the first.
    T* take_maps(WalkArena& arena, std::int64_t maps) const;
    T* take_pairs(WalkArena& arena) const;
    void clear_maps(T* maps, std::int64_t count) const;
    void clear_pairs(T* pairs) const;

    // Takes the steps make(0), make(1), ... one after another; each reads what the one before
    // wrote, and writes over what that one read.
    template <typename Make>
    void take_steps(std::int64_t count, Make&& make) const {
        WalkStep<T> steps[kMostLevels];
        for (std::int64_t k = 0; k < count;) {
            int levels = 0;
            for (; levels < levels_ && k < count; ++k) steps[levels++] = make(k);
            pass(steps, levels);
        }
    }
    // sum = sum over k of coefficients[k] P_k(T) x, P_k the Chebyshev polynomials. Takes x and
    // `spare` for its steps; `spare` has to be clear.
    void chebyshev_sum(const std::vector<double>& coefficients, T* x, T* spare, T* sum) const;
    void gradient_step(const WalkGradientStep<T>& step) const;

    // Calls body(value) for every value of all maps.
    template <typename Body>
    void for_values(Body&& body) const {
        WalkValue value{};
        for (std::int64_t map = 0; map < maps_; ++map) {
            value.pixel = 0;
            for (std::int64_t y = 0; y < layout_.height; ++y) {
                for (std::int64_t x = 0; x < layout_.width; ++x, ++value.i, ++value.pixel) {
                    value.pixel_at = y * layout_.stride + x;
                    value.at = map * layout_.plane + value.pixel_at;
                    body(value);
                }
            }
        }
    }

    // maps = make(value), and zeros around them.
    template <typename Make>
    void fill(T* maps, Make&& make) const {
        clear_maps(maps, maps_);
        for_values([&](const WalkValue& value) { maps[value.at] = make(value); });
    }

    // Calls body(begin, end) for ranges of rows.
    template <typename Body>
    void for_rows(Body&& body) const {
        parallel_for(execution_, layout_.height, rows_at_once_, body);
    }

    const WalkPaths<T>& paths() const { return paths_; }
    const WalkLayout& layout() const { return layout_; }
    std::int64_t maps() const { return maps_; }
    const Execution& execution() const { return execution_; }
    T inverse_degree(const WalkValue& value) const { return inverse_degrees_[value.pixel_at]; }
    // Where pairs of row y begin, those of its first neighbour first.
    std::int64_t pair_row(std::int64_t y) const { return y * layout_.count * layout_.stride; }

  private:
    static constexpr int kMostLevels = 6;

    std::int64_t edge() const;  // zeros before the first pixel of an array
    int levels(std::int64_t threads) const;
    void step_row(const WalkStep<T>& step, std::int64_t y) const;
    void pass(const WalkStep<T>* steps, int levels) const;

    WalkPaths<T> paths_;
    std::int64_t maps_;
    WalkLayout layout_;
    Execution execution_;
    std::int64_t rows_at_once_;
    int levels_;  // steps that one pass over the weights takes
    T* weights_;
    T* inverse_degrees_;
    std::vector<WalkNeighbour> neighbours_;
    std::vector<int> ends_;
};

}  // namespace wsss_fast
