#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>

#include "driver/cases.h"
#include "driver/report.h"
#include "ops/lattice.h"

namespace wsss_fast::driver {
namespace {

template <typename T>
struct Problem {
    int dims;
    std::int64_t points;
    std::int64_t channels;
    Array<T> features;
    Array<T> values;
    Array<T> others;

    Problem(int d, std::int64_t count, std::int64_t per_point, Random random)
        : dims(d),
          points(count),
          channels(per_point),
          features(random.array<T>(d * count, -1, 1)),
          values(random.array<T>(per_point * count, 0, 1)),
          others(random.array<T>(per_point * count, 0, 1)) {}

    Array<char> built(const T* from, const Execution& execution) const {
        entered("lattice_build_" + dtype_name<T>());
        entered("Lattice_" + dtype_name<T>());
        const ArrayFeatures<T> source("features", from, dims, PointOrder(points), execution);
        LatticeBuildParams<T> params;
        params.features = &source;
        params.execution = execution;
        Lattice<T> lattice;
        lattice.build(params);
        Array<char> block(lattice_packed_bytes(lattice.view()));
        lattice_pack(lattice.view(), block.data());
        return block;
    }

    Array<T> filtered(const Array<char>& block, const Array<T>& of, BlurOrder order,
                      const Execution& execution) const {
        entered("lattice_filter_" + dtype_name<T>());
        Array<T> out(of.size());
        LatticeFilterParams<T> params;
        params.lattice = lattice_unpack<T>(block.data(), block.size());
        params.values = of.data();
        params.out = out.data();
        params.channels = channels;
        params.order = order;
        params.execution = execution;
        lattice_filter(params);
        return out;
    }

    Bytes run(const Execution& execution) const {
        const Array<char> block = built(features.data(), execution);
        Bytes bytes = bytes_of(block);
        append(bytes, filtered(block, values, BlurOrder::kForward, execution));
        append(bytes, filtered(block, values, BlurOrder::kTransposed, execution));
        return bytes;
    }
};

template <typename T>
double dot(const Array<T>& a, const Array<T>& b) {
    double sum = 0;
    for (std::int64_t i = 0; i < a.size(); ++i) sum += double(a[i]) * double(b[i]);
    return sum;
}

template <typename Body>
bool refused(Body&& body) {
    try {
        body();
    } catch (const std::invalid_argument&) {
        return true;
    }
    return false;
}

template <typename T>
void check(const Problem<T>& problem, const std::string& name) {
    const Array<char> block = problem.built(problem.features.data(), kForChecks);
    const LatticeView<T> view = lattice_unpack<T>(block.data(), block.size());
    expect(view.points == problem.points && view.dims == problem.dims, name + ": its size");
    expect(view.vertices() > problem.dims && view.vertices() <= view.points * view.corners(),
           name + ": it has the vertices of one simplex at the least, and of one a point at most");

    const auto forward = [&](const Array<T>& of) {
        return problem.filtered(block, of, BlurOrder::kForward, kForChecks);
    };
    Array<T> twice(problem.values.size());
    for (std::int64_t i = 0; i < twice.size(); ++i) twice[i] = 2 * problem.values[i];
    const Array<T> once = forward(problem.values);
    const Array<T> doubled = forward(twice);
    bool linear = true;
    for (std::int64_t i = 0; i < once.size(); ++i) linear = linear && doubled[i] == 2 * once[i];
    expect(linear, name + ": twice the values give twice the results, to the bit");

    const double there = dot(once, problem.others);
    const double back = dot(problem.values, problem.filtered(block, problem.others,
                                                             BlurOrder::kTransposed, kForChecks));
    expect(there > 0 && std::abs(back / there - 1) < kTolerance<T>,
           name + ": the transpose is the transpose");

    Array<T> bad = Random(2).array<T>(problem.values.size(), 0, 1);
    bad[bad.size() - 1] = std::numeric_limits<T>::infinity();
    expect(refused([&] { forward(bad); }), name + ": an infinite last value is refused");
    Array<T> lost = Random(3).array<T>(problem.features.size(), 0, 1);
    lost[lost.size() - 1] = std::numeric_limits<T>::quiet_NaN();
    expect(refused([&] { problem.built(lost.data(), kForChecks); }),
           name + ": a NaN as the last feature is refused");
    lost[lost.size() - 1] = T(1e9);
    expect(refused([&] { problem.built(lost.data(), kForChecks); }),
           name + ": features out of reach are refused");
    expect(refused([&] { lattice_unpack<T>(block.data(), block.size() / 2); }),
           name + ": half a block is refused");
}

template <typename T>
void add(Cases& cases, const Size& size, int dims, std::int64_t channels) {
    const auto problem = std::make_shared<const Problem<T>>(dims, size.pixels(), channels,
                                                            Random(static_cast<unsigned>(dims)));
    cases.push_back({case_name("lattice of " + std::to_string(dims), dtype_name<T>(), size),
                     [problem](const Execution& execution) { return problem->run(execution); },
                     [problem](const std::string& name) { check(*problem, name); }});
}

template <typename T>
void add(Cases& cases, const Size& size) {
    add<T>(cases, size, 1, 4);
    add<T>(cases, size, 2, 1);
    add<T>(cases, size, 5, 19);
    // In sixteen dimensions every point has vertices of its own.
    if (size.pixels() <= 4096) add<T>(cases, size, kMaxLatticeDims, 3);
}

}  // namespace

void add_lattice_cases(Cases& cases, const Size& size) {
    add<float>(cases, size);
    add<double>(cases, size);
}

}  // namespace wsss_fast::driver
