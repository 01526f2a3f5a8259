// The only file that knows Python. Addresses come in as integers from wsss_fast/_launch.py, which
// has made every tensor contiguous, of the right dtype, and keeps it alive through the call.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "common/parallel.h"
#include "ops/cam_fusion.h"
#include "ops/tta.h"

namespace py = pybind11;

namespace wsss_fast {
namespace {

using Address = std::uintptr_t;

template <typename T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

// True when a Python signal handler raised: the exception is then pending in this thread.
bool python_signalled() {
    py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

// Python runs signal handlers in its main thread only.
bool in_main_thread() {
    const py::object main = py::module_::import("threading").attr("main_thread")();
    return main.attr("ident").cast<unsigned long>() == PyThread_get_thread_ident();
}

// Takes the GIL back. When the interpreter is shutting down under a daemon thread, Python (up
// to 3.13) ends that thread here by unwinding its stack, through frames that would then touch
// Python objects and abort the process; later versions let the thread sleep until the process is
// gone, and so do we.
void restore_thread(PyThreadState* state) {
    try {
        PyEval_RestoreThread(state);
    } catch (...) {
        for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
}

// Runs op(execution) without the GIL; Ctrl-C and other signals end it with their exception. Only
// the main thread polls for them: in the others it would be in vain, and taking the GIL is what a
// thread must not do below a running op while the interpreter shuts down.
template <typename Op>
void call(int threads, Op&& op) {
    Cancel cancel(&python_signalled);
    const Execution execution{threads, in_main_thread() ? &cancel : nullptr};
    std::exception_ptr error;
    PyThreadState* const state = PyEval_SaveThread();
    try {
        op(execution);
    } catch (const Cancelled&) {
    } catch (...) {
        error = std::current_exception();
    }
    restore_thread(state);
    // The signal may have come after the last piece of work was handed out.
    if (cancel.requested()) throw py::error_already_set();
    if (error) std::rethrow_exception(error);
}

py::dict build_info() {
    py::dict info;
#if defined(__clang__)
    info["compiler"] = "clang " __clang_version__;
#elif defined(__GNUC__)
    info["compiler"] = "gcc " __VERSION__;
#elif defined(_MSC_VER)
    info["compiler"] = "msvc " + std::to_string(_MSC_VER);
#else
    info["compiler"] = "unknown";
#endif
    info["cuda"] = false;
    return info;
}

// ---- cam_fusion --------------------------------------------------------------------------------

// (address, height, width, flipped) of one input.
using PlainInput = std::tuple<Address, std::int64_t, std::int64_t, bool>;
// (height, width, crop height, crop width, addresses of the images' outputs).
using PlainTarget =
    std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::vector<Address>>;
// (input, flat offset, value) of a value that was refused.
using PlainBadValue = std::tuple<std::int64_t, std::int64_t, double>;

std::optional<PlainBadValue> plain(const FiniteResult& result) {
    if (!result) return {};
    return PlainBadValue{result->input, result->offset, result->value};
}

template <typename T>
std::int64_t cam_fusion_workspace(const std::vector<PlainInput>& inputs, std::int64_t maps) {
    CamFusionParams<T> params{};
    for (const auto& [data, height, width, flipped] : inputs) {
        params.inputs.push_back({pointer<const T>(data), height, width, flipped});
    }
    params.maps.resize(static_cast<std::size_t>(maps));
    return cam_fusion_workspace_bytes(params);
}

template <typename T>
std::optional<PlainBadValue> run_cam_fusion(const std::vector<PlainInput>& inputs,
                                            const std::vector<PlainTarget>& targets,
                                            std::vector<std::int64_t> maps,
                                            std::vector<std::int64_t> image_begin, CamRelu relu,
                                            CamNormalize normalize, Address workspace,
                                            int threads) {
    CamFusionParams<T> params{};
    for (const auto& [data, height, width, flipped] : inputs) {
        params.inputs.push_back({pointer<const T>(data), height, width, flipped});
    }
    for (const auto& [height, width, crop_height, crop_width, outputs] : targets) {
        CamTarget<T> target{height, width, crop_height, crop_width, {}};
        for (const Address address : outputs) target.outputs.push_back(pointer<T>(address));
        params.targets.push_back(std::move(target));
    }
    params.maps = std::move(maps);
    params.image_begin = std::move(image_begin);
    params.relu = relu;
    params.normalize = normalize;
    params.workspace = pointer<T>(workspace);
    FiniteResult result;
    call(threads, [&](const Execution& execution) {
        params.execution = execution;
        result = cam_fusion(params);
    });
    return plain(result);
}

template <typename T>
void def_cam_fusion(py::module_& m, const std::string& dtype) {
    m.def(("cam_fusion_workspace_bytes_" + dtype).c_str(), &cam_fusion_workspace<T>,
          py::arg("inputs"), py::arg("maps"));
    m.def(("cam_fusion_" + dtype).c_str(), &run_cam_fusion<T>, py::arg("inputs"),
          py::arg("targets"), py::arg("maps"), py::arg("image_begin"), py::arg("relu"),
          py::arg("normalize"), py::arg("workspace"), py::arg("threads"));
}

void bind_cam_fusion(py::module_& m) {
    py::enum_<CamRelu>(m, "CamRelu")
        .value("none", CamRelu::kNone)
        .value("each", CamRelu::kEach)
        .value("sum", CamRelu::kSum);
    py::enum_<CamNormalize>(m, "CamNormalize")
        .value("none", CamNormalize::kNone)
        .value("class_", CamNormalize::kClass)
        .value("image", CamNormalize::kImage);
    def_cam_fusion<float>(m, "float32");
    def_cam_fusion<double>(m, "float64");
}

// ---- tta ---------------------------------------------------------------------------------------

template <typename T>
std::optional<PlainBadValue> run_tta_merge(const std::vector<PlainInput>& inputs,
                                           std::int64_t images, std::int64_t classes,
                                           std::int64_t height, std::int64_t width,
                                           TtaActivation activation, Address mean, Address labels,
                                           LabelType label_type, int threads) {
    TtaParams<T> params{};
    for (const auto& [data, input_height, input_width, flipped] : inputs) {
        params.inputs.push_back({pointer<const T>(data), input_height, input_width, flipped});
    }
    params.images = images;
    params.classes = classes;
    params.height = height;
    params.width = width;
    params.activation = activation;
    params.mean = pointer<T>(mean);
    params.labels = pointer<void>(labels);
    params.label_type = label_type;
    FiniteResult result;
    call(threads, [&](const Execution& execution) {
        params.execution = execution;
        result = tta_merge(params);
    });
    return plain(result);
}

template <typename T>
void def_tta_merge(py::module_& m, const std::string& dtype) {
    m.def(("tta_merge_" + dtype).c_str(), &run_tta_merge<T>, py::arg("inputs"), py::arg("images"),
          py::arg("classes"), py::arg("height"), py::arg("width"), py::arg("activation"),
          py::arg("mean"), py::arg("labels"), py::arg("label_type"), py::arg("threads"));
}

void bind_tta(py::module_& m) {
    py::enum_<TtaActivation>(m, "TtaActivation")
        .value("none", TtaActivation::kNone)
        .value("softmax", TtaActivation::kSoftmax)
        .value("sigmoid", TtaActivation::kSigmoid);
    py::enum_<LabelType>(m, "LabelType")
        .value("uint8", LabelType::kUint8)
        .value("int16", LabelType::kInt16)
        .value("int32", LabelType::kInt32);
    def_tta_merge<float>(m, "float32");
    def_tta_merge<double>(m, "float64");
}

}  // namespace
}  // namespace wsss_fast

PYBIND11_MODULE(_C, m) {
    using namespace wsss_fast;
    m.doc() = "The C++ core of wsss_fast. Private: call it through wsss_fast._launch only.";
    m.def("build_info", &build_info);
    bind_cam_fusion(m);
    bind_tta(m);
}
