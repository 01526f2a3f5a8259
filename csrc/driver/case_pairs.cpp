#include <cmath>
#include <memory>

#include "driver/paths_inside.h"
#include "driver/report.h"
#include "ops/affinity_displacement.h"
#include "ops/affinity_displacement_numbers.h"

namespace wsss_fast::driver {
namespace {

template <typename T>
struct Problem {
    Size size;
    Paths paths;
    Array<T> logits;
    Array<T> displacement;
    Array<std::int32_t> labels;
    Array<T> grad_sums;

    Problem(const Size& of, Random random)
        : size(of),
          paths(radius_inside(of)),
          logits(random.array<T>(of.images * of.pixels(), -3, 1)),
          displacement(random.array<T>(of.images * 2 * of.pixels(), -4, 4)),
          labels(random.array<std::int32_t>(of.images * of.pixels(), 0, 4)),
          grad_sums(random.array<T>(kAffinityDisplacementSums, 0.5, 1)) {
        for (std::int32_t& label : labels) {
            if (label == 3) label = kUnconfident;
        }
    }

    struct Sums {
        Array<T> sums{kAffinityDisplacementSums};
        Array<std::int64_t> counts{kAffinityDisplacementCounts};
    };
    struct Gradients {
        Array<T> logits;
        Array<T> displacement;
    };

    Sums forward(const Execution& execution) const {
        entered("affinity_displacement_" + dtype_name<T>());
        Sums to;
        affinity_displacement<T>({logits.data(), displacement.data(), labels.data(), to.sums.data(),
                                  to.counts.data(), size.images, size.height, size.width,
                                  paths.radius(), execution});
        return to;
    }

    Gradients backward(const Execution& execution) const {
        entered("affinity_displacement_backward_" + dtype_name<T>());
        entered("affinity_displacement_backward_workspace_bytes_" + dtype_name<T>());
        Gradients to{Array<T>(logits.size()), Array<T>(displacement.size())};
        Array<char> workspace(affinity_displacement_backward_workspace_bytes<T>(
            size.images, size.height, size.width, paths.radius()));
        affinity_displacement_backward<T>({grad_sums.data(), logits.data(), displacement.data(),
                                           labels.data(), to.logits.data(), to.displacement.data(),
                                           workspace.data(), size.images, size.height, size.width,
                                           paths.radius(), execution});
        return to;
    }

    Bytes run(const Execution& execution) const {
        const Sums sums = forward(execution);
        Bytes bytes = bytes_of(sums.sums);
        append(bytes, sums.counts);
        const Gradients gradients = backward(execution);
        append(bytes, gradients.logits);
        append(bytes, gradients.displacement);
        return bytes;
    }
};

template <typename T>
void check(const Problem<T>& problem, const std::string& name) {
    const auto got = problem.forward(kForChecks);
    std::int64_t background = 0;
    std::int64_t foreground = 0;
    std::int64_t different = 0;
    double apart = 0;  // of the displacement, foreground
    double size = 0;
    for (std::int64_t n = 0; n < problem.size.images; ++n) {
        const std::int64_t pixels = problem.size.pixels();
        const std::int32_t* labels = problem.labels.data() + n * pixels;
        const T* down = problem.displacement.data() + 2 * n * pixels;
        const T* right = down + pixels;
        each_pair(problem.paths, problem.size,
                  [&](std::size_t p, std::int64_t from, std::int64_t to, std::int64_t) {
                      const std::int32_t label = labels[from];
                      if (label == kUnconfident || labels[to] == kUnconfident) return;
                      if (label != labels[to]) {
                          ++different;
                      } else if (label == kBackgroundLabel) {
                          ++background;
                      } else {
                          ++foreground;
                          const Offset& way = problem.paths.offset(p);
                          apart += std::abs(double(down[from]) - double(down[to]) - way.dy) +
                                   std::abs(double(right[from]) - double(right[to]) - way.dx);
                      }
                  });
    }
    expect(got.counts[0] == background && got.counts[1] == foreground && got.counts[2] == different,
           name + ": the pairs are counted");
    expect(std::abs(double(got.sums[kForegroundDisplacement]) - apart) <= kTolerance<T> * apart,
           name + ": displacements of foreground pairs are summed");
    bool sound = true;
    for (const T sum : got.sums) sound = sound && std::isfinite(sum) && sum >= T(-1e-3);
    expect(sound, name + ": sums are finite and not negative");

    const auto gradients = problem.backward(kForChecks);
    double left_over = 0;
    for (const T value : gradients.displacement) {
        left_over += double(value);
        size += std::abs(double(value));
    }
    expect(std::abs(left_over) <= kTolerance<T> * size,
           name + ": what a pixel's displacement is pulled by, its neighbour's is pushed by");
    bool finite = true;
    for (const T value : gradients.logits) finite = finite && std::isfinite(value);
    expect(finite, name + ": the gradient of the logits is finite");
}

template <typename T>
void add(Cases& cases, const Size& size) {
    const auto problem = std::make_shared<const Problem<T>>(holding_paths(size), Random(41));
    cases.push_back({case_name("pairs", dtype_name<T>(), problem->size),
                     [problem](const Execution& execution) { return problem->run(execution); },
                     [problem](const std::string& name) { check(*problem, name); }});
}

}  // namespace

void add_pairs_cases(Cases& cases, const Size& size) {
    add<float>(cases, size);
    add<double>(cases, size);
}

}  // namespace wsss_fast::driver
