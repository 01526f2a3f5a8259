// The only file that knows Python. Addresses come in as integers from wsss_fast/_launch.py, which
// has made every tensor contiguous, of the right dtype, and keeps it alive through the call.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "common/parallel.h"
#include "ops/crf.h"
#include "ops/lattice.h"

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

// Runs op(execution) without the GIL; Ctrl-C and other signals end it with their exception.
template <typename Op>
void call(int threads, Op&& op) {
    Cancel cancel(&python_signalled);
    const Execution execution{threads, &cancel};
    try {
        py::gil_scoped_release release;
        op(execution);
    } catch (const Cancelled&) {
    }
    // The signal may have come after the last piece of work was handed out.
    if (cancel.requested()) throw py::error_already_set();
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

// One pairwise term: kind, (sx, sy, sr, sg, sb), features, dims, kind of compat, compat.
using KernelTuple =
    std::tuple<std::string, std::vector<double>, Address, int, std::string, Address>;

template <typename T>
CrfKernel<T> crf_kernel(const KernelTuple& tuple) {
    const auto& [kind, scales, features, dims, compat_kind, compat] = tuple;
    CrfKernel<T> kernel;
    if (kind == "gaussian") {
        kernel.kind = CrfFeatures::kPosition;
    } else if (kind == "bilateral") {
        kernel.kind = CrfFeatures::kColour;
    } else if (kind == "features") {
        kernel.kind = CrfFeatures::kGiven;
    } else {
        throw std::invalid_argument("kernels: unknown kind " + kind);
    }
    for (int i = 0; i < 2; ++i)
        kernel.sxy[i] = static_cast<T>(scales.at(static_cast<std::size_t>(i)));
    for (int i = 0; i < 3; ++i)
        kernel.srgb[i] = static_cast<T>(scales.at(static_cast<std::size_t>(2 + i)));
    kernel.features = pointer<const T>(features);
    kernel.dims = dims;
    if (compat_kind == "scalar") {
        kernel.compat_kind = CrfCompat::kScalar;
    } else if (compat_kind == "diagonal") {
        kernel.compat_kind = CrfCompat::kDiagonal;
    } else if (compat_kind == "matrix") {
        kernel.compat_kind = CrfCompat::kMatrix;
    } else {
        throw std::invalid_argument("kernels: unknown kind of compat " + compat_kind);
    }
    kernel.compat = pointer<const T>(compat);
    return kernel;
}

CrfNormalization crf_normalization(const std::string& name) {
    if (name == "symmetric") return CrfNormalization::kSymmetric;
    if (name == "before") return CrfNormalization::kBefore;
    if (name == "after") return CrfNormalization::kAfter;
    if (name == "none") return CrfNormalization::kNone;
    throw std::invalid_argument("normalization: unknown " + name);
}

template <typename T>
void run_crf(std::int64_t images, std::int64_t sets, std::int64_t classes, std::int64_t height,
             std::int64_t width, Address image_bytes, Address image, Address unary, Address probs,
             Address labels, int label_bytes, const std::vector<KernelTuple>& kernels,
             int iterations, const std::string& normalization, int threads) {
    std::vector<CrfKernel<T>> terms;
    for (const KernelTuple& kernel : kernels) terms.push_back(crf_kernel<T>(kernel));
    CrfParams<T> params;
    params.images = images;
    params.sets = sets;
    params.classes = classes;
    params.height = height;
    params.width = width;
    params.image_bytes = pointer<const std::uint8_t>(image_bytes);
    params.image = pointer<const T>(image);
    params.unary = pointer<const T>(unary);
    params.probs = pointer<T>(probs);
    params.labels = pointer<void>(labels);
    params.label_bytes = label_bytes;
    params.kernels = terms.data();
    params.kernel_count = static_cast<int>(terms.size());
    params.iterations = iterations;
    params.normalization = crf_normalization(normalization);
    call(threads, [&](const Execution& execution) {
        params.execution = execution;
        crf(params);
    });
}

template <typename T>
Lattice<T> run_lattice_build(Address features, int dims, std::int64_t points, int threads) {
    Lattice<T> lattice;
    call(threads, [&](const Execution& execution) {
        const ArrayFeatures<T> source("features", pointer<const T>(features), dims, points,
                                      execution);
        LatticeBuildParams<T> params;
        params.features = &source;
        params.execution = execution;
        lattice.build(params);
    });
    return lattice;
}

template <typename T>
void run_lattice_filter(Address lattice, std::int64_t lattice_bytes, Address values, Address out,
                        std::int64_t channels, bool transposed, bool check, int threads) {
    LatticeFilterParams<T> params;
    params.lattice = lattice_unpack<T>(pointer<const void>(lattice), lattice_bytes);
    params.values = pointer<const T>(values);
    params.out = pointer<T>(out);
    params.channels = channels;
    params.order = transposed ? BlurOrder::kTransposed : BlurOrder::kForward;
    params.check = check;
    call(threads, [&](const Execution& execution) {
        params.execution = execution;
        lattice_filter(params);
    });
}

template <typename T>
void bind_crf_dtype(py::module_& m, const std::string& dtype) {
    m.def(("crf_" + dtype).c_str(), &run_crf<T>, py::kw_only(), py::arg("images"), py::arg("sets"),
          py::arg("classes"), py::arg("height"), py::arg("width"), py::arg("image_bytes"),
          py::arg("image"), py::arg("unary"), py::arg("probs"), py::arg("labels"),
          py::arg("label_bytes"), py::arg("kernels"), py::arg("iterations"),
          py::arg("normalization"), py::arg("threads"));
    py::class_<Lattice<T>>(m, ("Lattice_" + dtype).c_str())
        .def_property_readonly("vertices", [](const Lattice<T>& l) { return l.view().vertices; })
        .def_property_readonly("packed_bytes",
                               [](const Lattice<T>& l) { return lattice_packed_bytes(l.view()); })
        .def(
            "pack",
            [](const Lattice<T>& l, Address block) {
                lattice_pack(l.view(), pointer<void>(block));
            },
            py::arg("block"));
    m.def(("lattice_build_" + dtype).c_str(), &run_lattice_build<T>, py::kw_only(),
          py::arg("features"), py::arg("dims"), py::arg("points"), py::arg("threads"));
    m.def(("lattice_filter_" + dtype).c_str(), &run_lattice_filter<T>, py::kw_only(),
          py::arg("lattice"), py::arg("lattice_bytes"), py::arg("values"), py::arg("out"),
          py::arg("channels"), py::arg("transposed"), py::arg("check"), py::arg("threads"));
}

void bind_crf(py::module_& m) {
    bind_crf_dtype<float>(m, "float32");
    bind_crf_dtype<double>(m, "float64");
}

}  // namespace
}  // namespace wsss_fast

PYBIND11_MODULE(_C, m) {
    using namespace wsss_fast;
    m.doc() = "The C++ core of wsss_fast. Private: call it through wsss_fast._launch only.";
    m.def("build_info", &build_info);
    bind_crf(m);
}
