#include "ops/random_walk.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "ops/cpu/random_walk_image.h"
#include "ops/cpu/random_walk_schedule.h"
#include "ops/walk_polynomial.h"

namespace wsss_fast {
namespace {

// The walk of one image, and its memory.
template <typename T>
class Walk {
  public:
    Walk(const PathPlan& plan, const WalkBatch<T>& batch, WalkArena& arena,
         const Execution& execution)
        : image_(plan, batch.height, batch.width, batch.maps, arena, execution),
          current_(image_.take_maps(arena, batch.maps)),
          previous_(image_.take_maps(arena, batch.maps)),
          sum_(image_.take_maps(arena, batch.maps)) {}

    void run(const WalkOptions& options, const std::vector<double>& chebyshev, const T* cam,
             const T* boundary, T* out) {
        image_.build(boundary, options.beta);
        image_.fill(current_, [&](const WalkValue& value) {
            return cam[value.i] * (T(1) - boundary[value.pixel]);
        });
        image_.clear_maps(previous_, image_.maps());
        if (options.method == WalkMethod::kChebyshev) {
            image_.chebyshev_sum(chebyshev, current_, previous_, sum_);
        } else {
            take_steps(options.steps);
        }
        image_.for_values([&](const WalkValue& value) { out[value.i] = sum_[value.at]; });
    }

  private:
    void take_steps(std::int64_t steps) {
        image_.take_steps(steps, [&](std::int64_t k) {
            T* const current = k % 2 == 0 ? current_ : previous_;
            T* const next = k % 2 == 0 ? previous_ : current_;
            return WalkStep<T>{current, next, T(1), T(0), nullptr, T(0)};
        });
        std::swap(sum_, steps % 2 == 0 ? current_ : previous_);
    }

    WalkImage<T> image_;
    T* current_;
    T* previous_;
    T* sum_;
};

}  // namespace

template <typename T>
std::int64_t random_walk_workspace_bytes(const RandomWalkParams<T>& params) {
    return walk_slots<Walk<T>>(path_plan(params.options.radius), params).total();
}

template <typename T>
void random_walk(const RandomWalkParams<T>& params) {
    const WalkOptions& options = params.options;
    const PathPlan& plan = path_plan(options.radius);
    std::vector<double> chebyshev;
    if (options.method == WalkMethod::kChebyshev) {
        chebyshev = walk_polynomial(options);
    }
    for_each_walk(params, walk_slots<Walk<T>>(plan, params),
                  [&](const WalkBatch<T>& batch, std::int64_t image, void* memory) {
                      const std::int64_t pixels = batch.height * batch.width;
                      const std::int64_t at = image * batch.maps * pixels;
                      WalkArena arena(memory);
                      Walk<T>(plan, batch, arena, params.execution)
                          .run(options, chebyshev, batch.cam + at, batch.boundary + image * pixels,
                               batch.out + at);
                  });
}

template std::int64_t random_walk_workspace_bytes(const RandomWalkParams<float>&);
template std::int64_t random_walk_workspace_bytes(const RandomWalkParams<double>&);
template void random_walk(const RandomWalkParams<float>&);
template void random_walk(const RandomWalkParams<double>&);

}  // namespace wsss_fast
