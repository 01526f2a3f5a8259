#include <algorithm>
#include <cmath>
#include <memory>

#include "driver/cases.h"
#include "driver/report.h"
#include "ops/random_walk.h"

namespace wsss_fast::driver {
namespace {

// One size of the batches.
template <typename T>
struct Images {
    Size size;
    std::int64_t maps;
    Array<T> cam;
    Array<T> boundary;
    Array<T> grad_out;

    Images(const Size& of, std::int64_t count, Random random)
        : size(of),
          maps(count),
          cam(random.array<T>(of.images * count * of.pixels(), 0, 1)),
          boundary(random.array<T>(of.images * of.pixels(), 0, 0.4)),
          grad_out(random.array<T>(cam.size(), 0, 1)) {}
};

template <typename T>
struct Outputs {
    Array<T> out;
    Array<T> grad_cam;
    Array<T> grad_boundary;

    explicit Outputs(const Images<T>& of)
        : out(of.cam.size()), grad_cam(of.cam.size()), grad_boundary(of.boundary.size()) {}
};

template <typename T>
struct Problem {
    std::vector<Images<T>> sizes{};
    WalkOptions options;

    Problem(const Size& size, const WalkOptions& how) : options(how) {
        sizes.emplace_back(size, 3, Random(21));
        sizes.emplace_back(Size{1, size.height + 1, size.width}, 1, Random(22));
    }

    std::vector<Outputs<T>> outputs() const { return {sizes.begin(), sizes.end()}; }

    void forward(std::vector<Outputs<T>>& to, const WalkOptions& how,
                 const Execution& execution) const {
        entered("random_walk_" + dtype_name<T>());
        entered("random_walk_workspace_bytes_" + dtype_name<T>());
        std::vector<WalkBatch<T>> batches;
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            const Images<T>& of = sizes[i];
            batches.push_back({of.cam.data(), of.boundary.data(), to[i].out.data(), of.size.images,
                               of.maps, of.size.height, of.size.width});
        }
        RandomWalkParams<T> params{batches.data(), static_cast<std::int64_t>(batches.size()), how,
                                   nullptr, execution};
        Array<char> workspace(random_walk_workspace_bytes(params));
        params.workspace = workspace.data();
        random_walk(params);
    }

    void backward(std::vector<Outputs<T>>& to, bool of_boundary, const Execution& execution) const {
        entered("random_walk_backward_" + dtype_name<T>());
        entered("random_walk_backward_workspace_bytes_" + dtype_name<T>());
        std::vector<WalkGradientBatch<T>> batches;
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            const Images<T>& of = sizes[i];
            batches.push_back({of.grad_out.data(), of_boundary ? of.cam.data() : nullptr,
                               of.boundary.data(), to[i].grad_cam.data(),
                               of_boundary ? to[i].grad_boundary.data() : nullptr, of.size.images,
                               of.maps, of.size.height, of.size.width});
        }
        RandomWalkBackwardParams<T> params{
            batches.data(), static_cast<std::int64_t>(batches.size()), options, nullptr, execution};
        Array<char> workspace(random_walk_backward_workspace_bytes(params));
        params.workspace = workspace.data();
        random_walk_backward(params);
    }

    Bytes run(const Execution& execution) const {
        std::vector<Outputs<T>> to = outputs();
        Bytes bytes;
        forward(to, options, execution);
        for (const Outputs<T>& o : to) append(bytes, o.out);
        backward(to, false, execution);
        for (const Outputs<T>& o : to) append(bytes, o.grad_cam);
        backward(to, true, execution);
        for (const Outputs<T>& o : to) append(bytes, o.grad_cam);
        for (const Outputs<T>& o : to) append(bytes, o.grad_boundary);
        return bytes;
    }
};

template <typename T>
double dot(const Array<T>& a, const Array<T>& b) {
    double sum = 0;
    for (std::int64_t i = 0; i < a.size(); ++i) sum += double(a[i]) * double(b[i]);
    return sum;
}

template <typename T>
void check(const Problem<T>& problem, const std::string& name) {
    std::vector<Outputs<T>> to = problem.outputs();
    WalkOptions none = problem.options;
    none.steps = 0;
    problem.forward(to, none, kForChecks);
    bool same = true;
    double largest = 0;
    double least = 1;
    for (std::size_t b = 0; b < to.size(); ++b) {
        const Images<T>& of = problem.sizes[b];
        for (std::int64_t i = 0; i < of.cam.size(); ++i) {
            const std::int64_t pixels = of.size.pixels();
            const std::int64_t at = i / (of.maps * pixels) * pixels + i % pixels;
            const T start = of.cam[i] * (T(1) - of.boundary[at]);
            same = same && std::abs(double(to[b].out[i]) - double(start)) < kTolerance<T>;
            largest = std::max(largest, double(start));
            least = std::min(least, double(start));
        }
    }
    expect(same, name + ": a walk of no steps is where it started");

    problem.forward(to, problem.options, kForChecks);
    problem.backward(to, true, kForChecks);
    bool between = true;
    bool adjoint = true;
    bool finite = true;
    for (std::size_t b = 0; b < to.size(); ++b) {
        const Images<T>& of = problem.sizes[b];
        // Columns of T sum to 1: what arrives is a mean of what started.
        const double slack = 10 * problem.options.tol + kTolerance<T>;
        for (const T value : to[b].out) {
            between = between && double(value) >= least - slack && double(value) <= largest + slack;
        }
        const double there = dot(to[b].out, of.grad_out);
        const double back = dot(of.cam, to[b].grad_cam);
        adjoint = adjoint && std::abs(there - back) <= kTolerance<T> * std::abs(there);
        for (const T value : to[b].grad_boundary) finite = finite && std::isfinite(value);
    }
    expect(between, name + ": a walk gives means of what it starts from");
    expect(adjoint, name + ": the gradient of cam is the transpose");
    expect(finite, name + ": the gradient of the boundary is finite");
}

template <typename T>
void add(Cases& cases, const Size& size) {
    struct Form {
        const char* name;
        WalkOptions options;
    };
    const Form forms[] = {{"walk", {5, 10, 256, WalkMethod::kChebyshev, 1e-5}},
                          {"walk by steps", {3, 2.5, 9, WalkMethod::kPower, 1e-5}}};
    for (const Form& form : forms) {
        const auto problem = std::make_shared<const Problem<T>>(size, form.options);
        cases.push_back({case_name(form.name, dtype_name<T>(), size),
                         [problem](const Execution& execution) { return problem->run(execution); },
                         [problem](const std::string& name) { check(*problem, name); }});
    }
}

}  // namespace

void add_walk_cases(Cases& cases, const Size& size) {
    add<float>(cases, size);
    add<double>(cases, size);
}

}  // namespace wsss_fast::driver
