#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>

#include "driver/cases.h"
#include "driver/report.h"
#include "ops/crf.h"

namespace wsss_fast::driver {
namespace {

constexpr int kDims = 4;

struct Form {
    const char* name;
    bool bytes;  // of the image's channels
    std::int64_t sets;
    std::int64_t classes;
    int label_bytes;  // 0: probabilities
};
constexpr Form kForms[] = {
    {"crf", true, 1, 5, 0},        {"crf of sets", false, 2, 3, 0}, {"crf of 21", true, 1, 21, 0},
    {"crf labels", true, 1, 5, 1}, {"crf int16", false, 2, 3, 2},   {"crf int32", true, 1, 1, 4},
};

template <typename T>
struct Problem {
    Size size;
    Form form;
    Array<std::uint8_t> image_bytes;
    Array<T> image;
    Array<T> unary;
    Array<T> features;
    Array<T> scalar{1, T(4)};
    Array<T> diagonal;
    Array<T> matrix;
    std::vector<CrfKernel<T>> kernels;

    Problem(const Size& of, const Form& how, Random random)
        : size(of),
          form(how),
          image_bytes(random.array<std::uint8_t>(of.images * 3 * of.pixels(), 90, 160)),
          image(random.array<T>(of.images * 3 * of.pixels(), 90, 160)),
          unary(random.array<T>(outputs(), 0, 3)),
          features(random.array<T>(of.images * kDims * of.pixels(), -1, 1)),
          diagonal(random.array<T>(how.classes, -4, 0)),
          matrix(random.array<T>(how.classes * how.classes, -2, 1)) {
        CrfKernel<T> near;
        near.sxy[0] = near.sxy[1] = 3;
        near.compat = scalar.data();
        CrfKernel<T> alike = near;
        alike.kind = CrfFeatures::kColour;
        alike.sxy[0] = alike.sxy[1] = 20;
        for (T& deviation : alike.srgb) deviation = 30;
        if (form.sets > 1) {
            near.compat_kind = CrfCompat::kDiagonal;
            near.compat = diagonal.data();
            near.normalization = CrfNormalization::kBefore;
            alike.normalization = CrfNormalization::kNone;
            CrfKernel<T> given;
            given.kind = CrfFeatures::kGiven;
            given.features = features.data();
            given.dims = kDims;
            given.compat_kind = CrfCompat::kMatrix;
            given.compat = matrix.data();
            given.normalization = CrfNormalization::kAfter;
            kernels.push_back(given);
        }
        kernels.push_back(near);
        kernels.push_back(alike);
    }

    std::int64_t outputs() const { return maps() * form.classes * size.pixels(); }
    std::int64_t maps() const { return size.images * form.sets; }

    CrfParams<T> params(const Execution& execution) const {
        CrfParams<T> result;
        result.images = size.images;
        result.sets = form.sets;
        result.classes = form.classes;
        result.height = size.height;
        result.width = size.width;
        if (form.bytes) {
            result.image_bytes = image_bytes.data();
        } else {
            result.image = image.data();
        }
        result.unary = unary.data();
        result.kernels = kernels.data();
        result.kernel_count = static_cast<int>(kernels.size());
        result.iterations = 3;
        result.execution = execution;
        return result;
    }

    Array<T> probs(CrfParams<T> params) const {
        entered("crf_" + dtype_name<T>());
        Array<T> result(outputs());
        params.probs = result.data();
        params.labels = nullptr;
        crf(params);
        return result;
    }

    Bytes labels(CrfParams<T> params) const {
        entered("crf_" + dtype_name<T>());
        Array<std::uint8_t> result(maps() * size.pixels() * form.label_bytes);
        params.labels = result.data();
        params.label_bytes = form.label_bytes;
        crf(params);
        return bytes_of(result);
    }

    Bytes run(const Execution& execution) const {
        if (form.label_bytes != 0) return labels(params(execution));
        return bytes_of(probs(params(execution)));
    }

    // body(map, point, probabilities of its classes)
    template <typename Body>
    void each_point(const Array<T>& probs, Body&& body) const {
        std::vector<T> point(static_cast<std::size_t>(form.classes));
        for (std::int64_t m = 0; m < maps(); ++m) {
            for (std::int64_t i = 0; i < size.pixels(); ++i) {
                for (std::size_t c = 0; c < point.size(); ++c) {
                    const auto map = m * form.classes + static_cast<std::int64_t>(c);
                    point[c] = probs[map * size.pixels() + i];
                }
                body(m, i, point);
            }
        }
    }
};

template <typename T>
std::int64_t label_at(const Bytes& labels, std::int64_t i) {
    T value;
    std::copy_n(labels.data() + static_cast<std::size_t>(i) * sizeof(T), sizeof(T),
                reinterpret_cast<char*>(&value));
    return value;
}

std::int64_t label_at(const Bytes& labels, std::int64_t i, int bytes) {
    if (bytes == 1) return label_at<std::uint8_t>(labels, i);
    return bytes == 2 ? label_at<std::int16_t>(labels, i) : label_at<std::int32_t>(labels, i);
}

template <typename T>
void check(const Problem<T>& problem, const std::string& name) {
    const CrfParams<T> params = problem.params(kForChecks);
    const Array<T> probs = problem.probs(params);
    bool sums = true;
    problem.each_point(probs, [&](std::int64_t, std::int64_t, const std::vector<T>& point) {
        double sum = 0;
        for (const T p : point) {
            sums = sums && p >= 0;
            sum += double(p);
        }
        sums = sums && std::abs(sum - 1) < kTolerance<T>;
    });
    expect(sums, name + ": probabilities are not negative and sum to 1");

    if (problem.form.label_bytes != 0) {
        const Bytes labels = problem.labels(params);
        bool largest = true;
        problem.each_point(probs, [&](std::int64_t m, std::int64_t i, const std::vector<T>& point) {
            const std::int64_t label =
                label_at(labels, m * problem.size.pixels() + i, problem.form.label_bytes);
            const auto expected = std::max_element(point.begin(), point.end()) - point.begin();
            largest = largest && label == expected;
        });
        expect(largest, name + ": a label is that of the largest probability");
    }

    CrfParams<T> start = params;
    start.iterations = 0;
    bool softmax = true;
    const Array<T> first = problem.probs(start);
    for (std::int64_t m = 0; m < problem.maps(); ++m) {
        for (std::int64_t i = 0; i < problem.size.pixels(); ++i) {
            const auto at = [&](std::int64_t c) {
                return (m * problem.form.classes + c) * problem.size.pixels() + i;
            };
            double sum = 0;
            for (std::int64_t c = 0; c < problem.form.classes; ++c) {
                sum += std::exp(-double(problem.unary[at(c)]));
            }
            for (std::int64_t c = 0; c < problem.form.classes; ++c) {
                const double expected = std::exp(-double(problem.unary[at(c)])) / sum;
                softmax = softmax && std::abs(double(first[at(c)]) - expected) < kTolerance<T>;
            }
        }
    }
    expect(softmax, name + ": without iterations it is softmax(-unary)");

    if (problem.form.sets == 1) {
        const Array<T> flat(problem.outputs(), T(1));
        CrfParams<T> undecided = params;
        undecided.unary = flat.data();
        bool equal = true;
        for (const T p : problem.probs(undecided)) {
            equal = equal && std::abs(double(p) * double(problem.form.classes) - 1) < kTolerance<T>;
        }
        expect(equal, name + ": equal energies stay equal");
    }

    Array<T> bad = Random(1).array<T>(problem.outputs(), 0, 1);
    bad[bad.size() - 1] = std::numeric_limits<T>::quiet_NaN();
    CrfParams<T> refused = params;
    refused.unary = bad.data();
    bool thrown = false;
    try {
        problem.probs(refused);
    } catch (const std::invalid_argument&) {
        thrown = true;
    }
    expect(thrown, name + ": a NaN in the last element is refused");
}

template <typename T>
void add(Cases& cases, const Size& size) {
    for (const Form& form : kForms) {
        const auto problem = std::make_shared<const Problem<T>>(size, form, Random(11));
        cases.push_back({case_name(form.name, dtype_name<T>(), size),
                         [problem](const Execution& execution) { return problem->run(execution); },
                         [problem](const std::string& name) { check(*problem, name); }});
    }
}

}  // namespace

void add_crf_cases(Cases& cases, const Size& size) {
    add<float>(cases, size);
    add<double>(cases, size);
}

}  // namespace wsss_fast::driver
