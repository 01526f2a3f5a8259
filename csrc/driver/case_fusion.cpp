#include <algorithm>
#include <limits>
#include <memory>

#include "driver/cases.h"
#include "driver/report.h"
#include "ops/cam_fusion.h"

namespace wsss_fast::driver {
namespace {

constexpr std::int64_t kMaps = 4;

struct Form {
    const char* name;
    CamRelu relu;
    CamNormalize normalize;
};
constexpr Form kForms[] = {{"fusion", CamRelu::kSum, CamNormalize::kClass},
                           {"fusion each", CamRelu::kEach, CamNormalize::kImage},
                           {"fusion plain", CamRelu::kNone, CamNormalize::kNone}};

template <typename T>
struct Problem {
    Size size;
    Form form;
    std::vector<CamInput<T>> inputs{};
    std::vector<Array<T>> held{};
    std::vector<std::int64_t> maps{};
    std::vector<std::int64_t> image_begin{0};

    Problem(const Size& of, const Form& how, Random random) : size(of), form(how) {
        for (const bool flipped : {false, true}) {
            add(of.height, of.width, flipped, random);
            add(of.height / 2 + 1, of.width / 3 + 1, flipped, random);
            add(of.height * 2, of.width + 5, flipped, random);
        }
        // Of every image one map fewer than of the one before.
        for (std::int64_t n = 0; n < of.images; ++n) {
            for (std::int64_t k = n; k < kMaps; ++k) maps.push_back(n * kMaps + k);
            image_begin.push_back(static_cast<std::int64_t>(maps.size()));
        }
    }

    void add(std::int64_t height, std::int64_t width, bool flipped, Random& random) {
        held.push_back(random.array<T>(size.images * kMaps * height * width, -1, 1));
        inputs.push_back({held.back().data(), height, width, flipped});
    }

    std::int64_t wanted() const { return static_cast<std::int64_t>(maps.size()); }

    // To the size of the first input, cropped, and to one beside it.
    FiniteResult fuse(const std::vector<CamInput<T>>& of, std::int64_t crop_height, Array<T>& near,
                      Array<T>& far, const Execution& execution) const {
        entered("cam_fusion_" + dtype_name<T>());
        entered("cam_fusion_workspace_bytes_" + dtype_name<T>());
        CamFusionParams<T> params{of, {}, maps, image_begin};
        params.targets.push_back({size.height, size.width, crop_height, size.width, {}});
        params.targets.push_back(
            {size.height * 3, size.width + 1, size.height * 3, size.width + 1, {}});
        for (std::int64_t n = 0; n < size.images; ++n) {
            const std::int64_t first = image_begin[static_cast<std::size_t>(n)];
            params.targets[0].outputs.push_back(near.data() + first * crop_height * size.width);
            params.targets[1].outputs.push_back(far.data() +
                                                first * size.height * 3 * (size.width + 1));
        }
        params.relu = form.relu;
        params.normalize = form.normalize;
        Array<char> workspace(cam_fusion_workspace_bytes(params));
        params.workspace = reinterpret_cast<T*>(workspace.data());
        params.execution = execution;
        return cam_fusion(params);
    }

    Array<T> near(std::int64_t crop_height) const {
        return Array<T>(wanted() * crop_height * size.width);
    }
    Array<T> far() const { return Array<T>(wanted() * size.height * 3 * (size.width + 1)); }

    Bytes run(const Execution& execution) const {
        const std::int64_t crop = (size.height + 1) / 2;
        Array<T> first = near(crop);
        Array<T> second = far();
        const FiniteResult bad = fuse(inputs, crop, first, second, execution);
        Bytes bytes = bytes_of(first);
        append(bytes, second);
        bytes += bad ? "bad" : "good";
        return bytes;
    }
};

template <typename T>
void check(const Problem<T>& problem, const std::string& name) {
    const std::int64_t height = problem.size.height;
    Array<T> near = problem.near(height);
    Array<T> far = problem.far();
    expect(!problem.fuse(problem.inputs, height, near, far, kForChecks),
           name + ": finite maps are not refused");
    if (problem.form.normalize != CamNormalize::kNone) {
        bool inside = true;
        for (const T value : near) inside = inside && value >= 0 && value <= 1;
        for (const T value : far) inside = inside && value >= 0 && value <= 1;
        expect(inside, name + ": normalised maps lie in [0, 1]");
    } else {
        problem.fuse({problem.inputs[0]}, height, near, far, kForChecks);
        bool same = true;
        const std::int64_t pixels = problem.size.pixels();
        for (std::int64_t m = 0; m < problem.wanted(); ++m) {
            const T* from =
                problem.held[0].data() + problem.maps[static_cast<std::size_t>(m)] * pixels;
            same = same && std::equal(from, from + pixels, near.data() + m * pixels);
        }
        expect(same, name + ": one input at its own size is itself, to the bit");
    }

    Array<T> bad = Random(4).array<T>(problem.held[0].size(), 0, 1);
    bad[bad.size() - 1] = std::numeric_limits<T>::quiet_NaN();
    std::vector<CamInput<T>> inputs = problem.inputs;
    inputs[0].data = bad.data();
    const FiniteResult found = problem.fuse(inputs, height, near, far, kForChecks);
    expect(found && found->input == 0 && found->offset == bad.size() - 1,
           name + ": a NaN in the last element of an input is found");
}

template <typename T>
void add(Cases& cases, const Size& size) {
    for (const Form& form : kForms) {
        const auto problem = std::make_shared<const Problem<T>>(size, form, Random(51));
        cases.push_back({case_name(form.name, dtype_name<T>(), size),
                         [problem](const Execution& execution) { return problem->run(execution); },
                         [problem](const std::string& name) { check(*problem, name); }});
    }
}

}  // namespace

void add_fusion_cases(Cases& cases, const Size& size) {
    add<float>(cases, size);
    add<double>(cases, size);
}

}  // namespace wsss_fast::driver
