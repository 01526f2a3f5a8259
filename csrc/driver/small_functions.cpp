#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "common/chebyshev.h"
#include "common/isa.h"
#include "common/paths.h"
#include "common/values.h"
#include "driver/cases.h"
#include "driver/report.h"
#include "ops/lattice_embedding.h"

namespace wsss_fast::driver {
namespace {

template <typename T>
void check_values() {
    const std::string name = "first_outside_" + dtype_name<T>();
    entered(name);
    for (const std::int64_t size : {0, 1, 7, 4096, 10001}) {
        Array<T> values = Random(71).array<T>(size, 0, 1);
        expect(first_outside(values.data(), size, T(0), T(1)) == -1, name + ": all are inside");
        if (size == 0) continue;
        values[size - 1] = std::numeric_limits<T>::quiet_NaN();
        expect(first_outside(values.data(), size, T(0), T(1)) == size - 1, name + ": the last");
        values[size / 2] = T(-1);
        expect(first_outside(values.data(), size, T(0), T(1)) == size / 2, name + ": the first");
    }
}

template <typename Label>
void check_labels(const std::string& dtype) {
    const std::string name = "copy_labels_" + dtype;
    entered(name);
    for (const std::int64_t size : {0, 1, 7, 4096, 10001}) {
        Array<Label> labels = Random(72).array<Label>(size, 0, 100);
        Array<std::int32_t> to(size);
        expect(copy_labels(labels.data(), size, to.data()) == -1, name + ": all are labels");
        bool same = true;
        for (std::int64_t i = 0; i < size; ++i) same = same && to[i] == labels[i];
        expect(same, name + ": they are the same");
        if (size == 0 || !std::is_signed_v<Label>) continue;
        labels[size - 1] = static_cast<Label>(-1);
        expect(copy_labels(labels.data(), size, to.data()) == size - 1, name + ": the last");
        if constexpr (sizeof(Label) > 4) {
            labels[size / 2] = std::numeric_limits<Label>::max();
            expect(copy_labels(labels.data(), size, to.data()) == size / 2, name + ": too large");
        }
    }
}

template <typename T>
void check_reach() {
    const std::string name = "check_lattice_reach_" + dtype_name<T>();
    entered(name);
    for (int dims = 1; dims <= kMaxLatticeDims; ++dims) {
        const Array<T> low(dims, T(-1));
        Array<T> high(dims, T(1));
        double least[kMaxLatticeCorners];
        double most[kMaxLatticeCorners];
        const LatticeEmbedding<T> embedding(dims);
        embedding.bounds("features", low.data(), high.data(), least, most);
        bool around = true;
        for (int j = 0; j <= dims; ++j) around = around && least[j] < 0 && most[j] > 0;
        expect(around, name + ": the origin is inside");
        high[dims - 1] = T(1e9);
        bool refused = false;
        try {
            embedding.bounds("features", low.data(), high.data(), least, most);
        } catch (const std::invalid_argument&) {
            refused = true;
        }
        expect(refused, name + ": what is too far is refused");
    }
}

}  // namespace

void check_small_functions() {
    check_values<float>();
    check_values<double>();
    check_labels<std::uint8_t>("uint8");
    check_labels<std::int8_t>("int8");
    check_labels<std::int16_t>("int16");
    check_labels<std::int32_t>("int32");
    check_labels<std::int64_t>("int64");
    check_reach<float>();
    check_reach<double>();

    entered("chebyshev_of_power");
    for (const std::int64_t steps : {0, 1, 2, 9, 256, 65536}) {
        const std::vector<double> c = chebyshev_of_power(steps, 1e-5);
        expect(std::abs(std::accumulate(c.begin(), c.end(), 0.0) - 1) < 1e-12,
               "chebyshev_of_power: coefficients sum to 1");
    }

    entered("path_offsets");
    expect(Paths(5).size() == 34, "path_offsets: 34 at radius 5");
    for (int radius = 2; radius <= 12; ++radius) {
        const Paths paths(radius);
        bool inside = true;
        for (const Offset& o : paths.offsets()) {
            inside = inside && o.dy * o.dy + o.dx * o.dx < radius * radius;
        }
        expect(inside, "path_offsets: neighbours are inside the radius");
    }

    entered("build_info");
    expect(isa_name(isa())[0] != '\0', "build_info: the instruction set has a name");
}

}  // namespace wsss_fast::driver
