#include <algorithm>
#include <cmath>
#include <memory>

#include "driver/paths_inside.h"
#include "driver/report.h"
#include "ops/path_affinity.h"

namespace wsss_fast::driver {
namespace {

template <typename T>
struct Problem {
    Size size;
    Paths paths;
    Array<T> boundary;
    Array<T> grad_affinity;

    Problem(const Size& of, Random random)
        : size(of),
          paths(radius_inside(of)),
          boundary(random.array<T>(of.images * of.pixels(), 0, 1)),
          grad_affinity(random.array<T>(of.images * pairs_inside(paths, of), -1, 1)) {}

    Array<T> forward(const Execution& execution) const {
        entered("path_affinity_" + dtype_name<T>());
        Array<T> affinity(grad_affinity.size());
        path_affinity<T>({boundary.data(), affinity.data(), size.images, size.height, size.width,
                          paths.radius(), execution});
        return affinity;
    }

    Array<T> backward(const Execution& execution) const {
        entered("path_affinity_backward_" + dtype_name<T>());
        entered("path_affinity_backward_workspace_bytes_" + dtype_name<T>());
        Array<T> grad(boundary.size());
        PathAffinityBackwardParams<T> params{
            grad_affinity.data(), boundary.data(), grad.data(),    nullptr,  size.images,
            size.height,          size.width,      paths.radius(), execution};
        Array<char> workspace(path_affinity_backward_workspace_bytes(params));
        params.workspace = workspace.data();
        path_affinity_backward(params);
        return grad;
    }

    Bytes run(const Execution& execution) const {
        Bytes bytes = bytes_of(forward(execution));
        append(bytes, backward(execution));
        return bytes;
    }
};

template <typename T>
void check(const Problem<T>& problem, const std::string& name) {
    const Array<T> affinity = problem.forward(kForChecks);
    const std::int64_t pairs = pairs_inside(problem.paths, problem.size);
    bool exact = true;
    for (std::int64_t n = 0; n < problem.size.images; ++n) {
        const T* map = problem.boundary.data() + n * problem.size.pixels();
        each_pair(problem.paths, problem.size,
                  [&](std::size_t p, std::int64_t source, std::int64_t, std::int64_t at) {
                      T most = 0;
                      for (const Offset* o = problem.paths.begin(p); o != problem.paths.end(p);
                           ++o) {
                          most = std::max(most, map[source + o->dy * problem.size.width + o->dx]);
                      }
                      exact = exact && affinity[n * pairs + at] == T(1) - most;
                  });
    }
    expect(exact, name + ": every affinity is 1 - the largest on its path, to the bit");

    double given = 0;
    for (const T value : problem.grad_affinity) given += double(value);
    double got = 0;
    double size = 0;
    for (const T value : problem.backward(kForChecks)) {
        got += double(value);
        size += std::abs(double(value));
    }
    expect(std::abs(given + got) <= kTolerance<T> * size,
           name + ": the gradient of every path goes to a pixel");
}

template <typename T>
void add(Cases& cases, const Size& size) {
    const auto problem = std::make_shared<const Problem<T>>(holding_paths(size), Random(31));
    cases.push_back({case_name("path affinity", dtype_name<T>(), problem->size),
                     [problem](const Execution& execution) { return problem->run(execution); },
                     [problem](const std::string& name) { check(*problem, name); }});
}

}  // namespace

void add_path_cases(Cases& cases, const Size& size) {
    add<float>(cases, size);
    add<double>(cases, size);
}

}  // namespace wsss_fast::driver
