#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "driver/cases.h"
#include "driver/report.h"
#include "ops/tta.h"

namespace wsss_fast::driver {
namespace {

struct Form {
    const char* name;
    std::int64_t classes;
    TtaActivation activation;
    LabelType label_type;
};
constexpr Form kForms[] = {{"tta", 5, TtaActivation::kSoftmax, LabelType::kUint8},
                           {"tta of 21", 21, TtaActivation::kSigmoid, LabelType::kInt16},
                           {"tta plain", 2, TtaActivation::kNone, LabelType::kInt32}};

int bytes_of_label(LabelType type) {
    if (type == LabelType::kUint8) return 1;
    return type == LabelType::kInt16 ? 2 : 4;
}

template <typename T>
struct Problem {
    Size size;
    Form form;
    std::vector<TtaInput<T>> inputs{};
    std::vector<Array<T>> held{};

    Problem(const Size& of, const Form& how, Random random) : size(of), form(how) {
        for (const bool flipped : {false, true}) {
            add(of.height, of.width, flipped, random);
            add(of.height / 2 + 1, of.width / 3 + 1, flipped, random);
            add(of.height * 2, of.width + 5, flipped, random);
        }
    }

    void add(std::int64_t height, std::int64_t width, bool flipped, Random& random) {
        held.push_back(random.array<T>(size.images * form.classes * height * width, -4, 4));
        inputs.push_back({held.back().data(), height, width, flipped});
    }

    TtaParams<T> params(const Execution& execution) const {
        entered("tta_merge_" + dtype_name<T>());
        TtaParams<T> result;
        result.inputs = inputs;
        result.images = size.images;
        result.classes = form.classes;
        result.height = size.height;
        result.width = size.width;
        result.activation = form.activation;
        result.label_type = form.label_type;
        result.execution = execution;
        return result;
    }

    Array<T> mean(TtaParams<T> params) const {
        Array<T> result(size.images * form.classes * size.pixels());
        params.mean = result.data();
        tta_merge(params);
        return result;
    }
    Array<unsigned char> labels(TtaParams<T> params) const {
        Array<unsigned char> result(size.images * size.pixels() * bytes_of_label(form.label_type));
        params.labels = result.data();
        tta_merge(params);
        return result;
    }

    Bytes run(const Execution& execution) const {
        Bytes bytes = bytes_of(mean(params(execution)));
        append(bytes, labels(params(execution)));
        return bytes;
    }
};

template <typename T>
void check(const Problem<T>& problem, const std::string& name) {
    const TtaParams<T> params = problem.params(kForChecks);
    const Array<T> mean = problem.mean(params);
    const Array<unsigned char> labels = problem.labels(params);
    const std::int64_t pixels = problem.size.pixels();
    const int label_bytes = bytes_of_label(problem.form.label_type);
    bool sums = true;
    bool largest = true;
    for (std::int64_t n = 0; n < problem.size.images; ++n) {
        for (std::int64_t i = 0; i < pixels; ++i) {
            const auto at = [&](std::int64_t c) {
                return mean[(n * problem.form.classes + c) * pixels + i];
            };
            double sum = 0;
            std::int64_t best = 0;
            for (std::int64_t c = 0; c < problem.form.classes; ++c) {
                sum += double(at(c));
                if (at(c) > at(best)) best = c;
            }
            sums = sums && std::abs(sum - 1) < kTolerance<T>;
            // Fewer than 128 classes: the lowest byte of a label, on machines that store it first.
            largest = largest && labels[(n * pixels + i) * label_bytes] == best;
        }
    }
    if (problem.form.activation == TtaActivation::kSoftmax) {
        expect(sums, name + ": probabilities sum to 1");
    }
    expect(largest, name + ": a label is that of the largest mean");

    if (problem.form.activation == TtaActivation::kNone) {
        TtaParams<T> one = params;
        one.inputs.resize(1);
        const Array<T> same = problem.mean(one);
        expect(std::equal(same.begin(), same.end(), problem.held[0].begin()),
               name + ": one input at its own size is itself, to the bit");
    }

    Array<T> bad = Random(5).array<T>(problem.held[0].size(), 0, 1);
    bad[bad.size() - 1] = std::numeric_limits<T>::quiet_NaN();
    Array<T> out(mean.size());
    TtaParams<T> refused = params;
    refused.inputs[0].data = bad.data();
    refused.mean = out.data();
    const FiniteResult found = tta_merge(refused);
    expect(found && found->input == 0 && found->offset == bad.size() - 1,
           name + ": a NaN in the last element of an input is found");
}

template <typename T>
void add(Cases& cases, const Size& size) {
    for (const Form& form : kForms) {
        const auto problem = std::make_shared<const Problem<T>>(size, form, Random(61));
        cases.push_back({case_name(form.name, dtype_name<T>(), size),
                         [problem](const Execution& execution) { return problem->run(execution); },
                         [problem](const std::string& name) { check(*problem, name); }});
    }
}

}  // namespace

void add_tta_cases(Cases& cases, const Size& size) {
    add<float>(cases, size);
    add<double>(cases, size);
}

}  // namespace wsss_fast::driver
