// The only file that knows Python. Addresses come in as integers from wsss_fast/_launch, which
// has made every tensor contiguous, of the right dtype, and keeps it alive through the call.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "common/chebyshev.h"
#include "common/isa.h"
#include "common/parallel.h"
#include "common/paths.h"
#include "common/refuse.h"
#include "common/values.h"
#include "ops/affinity_displacement.h"
#include "ops/cam_fusion.h"
#include "ops/crf.h"
#include "ops/lattice.h"
#include "ops/path_affinity.h"
#include "ops/random_walk.h"
#include "ops/tta.h"
#if defined(WSSS_FAST_CUDA)
#include "ops/cuda/affinity_displacement.h"
#include "ops/cuda/cam_fusion.h"
#include "ops/cuda/crf.h"
#include "ops/cuda/lattice.h"
#include "ops/cuda/path_affinity.h"
#include "ops/cuda/path_gradient.h"
#include "ops/cuda/random_walk.h"
#include "ops/cuda/tta.h"
#endif

#if defined(WSSS_FAST_CUDA_ON_HOST)
#include <type_traits>

#include "common/cuda/device_wide.h"
#include "testing/shim_kernels.h"
#include "testing/threads_on_host.h"
#endif

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
#if defined(WSSS_FAST_CUDA)
    info["cuda"] = true;
#else
    info["cuda"] = false;
#endif
    info["isa"] = isa_name(isa());
    return info;
}

// One pairwise term: kind, (sx, sy, sr, sg, sb), features, dims, kind of compat, compat,
// normalisation.
using KernelTuple =
    std::tuple<std::string, std::vector<double>, Address, int, std::string, Address, std::string>;

CrfFeatures crf_features(const std::string& kind) {
    if (kind == "gaussian") return CrfFeatures::kPosition;
    if (kind == "bilateral") return CrfFeatures::kColour;
    if (kind == "features") return CrfFeatures::kGiven;
    refuse("kernels: unknown kind ", kind);
}

CrfCompat crf_compat(const std::string& kind) {
    if (kind == "scalar") return CrfCompat::kScalar;
    if (kind == "diagonal") return CrfCompat::kDiagonal;
    if (kind == "matrix") return CrfCompat::kMatrix;
    refuse("kernels: unknown kind of compat ", kind);
}

CrfNormalization crf_normalization(const std::string& name) {
    if (name == "symmetric") return CrfNormalization::kSymmetric;
    if (name == "before") return CrfNormalization::kBefore;
    if (name == "after") return CrfNormalization::kAfter;
    if (name == "none") return CrfNormalization::kNone;
    refuse("normalization: unknown ", name);
}

template <typename T>
CrfKernel<T> crf_kernel(const KernelTuple& tuple) {
    const auto& [kind, scales, features, dims, compat_kind, compat, normalization] = tuple;
    CrfKernel<T> kernel;
    kernel.kind = crf_features(kind);
    for (int i = 0; i < 2; ++i)
        kernel.sxy[i] = static_cast<T>(scales.at(static_cast<std::size_t>(i)));
    for (int i = 0; i < 3; ++i)
        kernel.srgb[i] = static_cast<T>(scales.at(static_cast<std::size_t>(2 + i)));
    kernel.features = pointer<const T>(features);
    kernel.dims = dims;
    kernel.compat_kind = crf_compat(compat_kind);
    kernel.compat = pointer<const T>(compat);
    kernel.normalization = crf_normalization(normalization);
    return kernel;
}

template <typename T>
void run_crf(std::int64_t images, std::int64_t sets, std::int64_t classes, std::int64_t height,
             std::int64_t width, Address image_bytes, Address image, Address unary, Address probs,
             Address labels, int label_bytes, const std::vector<KernelTuple>& kernels,
             int iterations, int threads) {
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
    call(threads, [&](const Execution& execution) {
        params.execution = execution;
        crf(params);
    });
}

template <typename T>
Lattice<T> run_lattice_build(Address features, int dims, std::int64_t points, int threads) {
    Lattice<T> lattice;
    call(threads, [&](const Execution& execution) {
        const ArrayFeatures<T> source("features", pointer<const T>(features), dims,
                                      PointOrder(points), execution);
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

// Throws where features between these, each in the precision of T, are out of its reach.
template <typename T>
void check_lattice_reach(const std::string& name, const std::vector<double>& low,
                         const std::vector<double>& high) {
    T least[kMaxLatticeDims];
    T most[kMaxLatticeDims];
    for (std::size_t i = 0; i < low.size(); ++i) {
        least[i] = static_cast<T>(low.at(i));
        most[i] = static_cast<T>(high.at(i));
    }
    double bounds[2][kMaxLatticeCorners];
    const LatticeEmbedding<T> embedding(static_cast<int>(low.size()));
    embedding.bounds(name.c_str(), least, most, bounds[0], bounds[1]);
}

template <typename T>
void bind_crf_dtype(py::module_& m, const std::string& dtype) {
    m.def(("check_lattice_reach_" + dtype).c_str(), &check_lattice_reach<T>, py::arg("name"),
          py::arg("low"), py::arg("high"));
    m.def(("crf_" + dtype).c_str(), &run_crf<T>, py::kw_only(), py::arg("images"), py::arg("sets"),
          py::arg("classes"), py::arg("height"), py::arg("width"), py::arg("image_bytes"),
          py::arg("image"), py::arg("unary"), py::arg("probs"), py::arg("labels"),
          py::arg("label_bytes"), py::arg("kernels"), py::arg("iterations"), py::arg("threads"));
    py::class_<Lattice<T>>(m, ("Lattice_" + dtype).c_str())
        .def_property_readonly("vertices", [](const Lattice<T>& l) { return l.view().vertices(); })
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

template <typename T>
void bind_path_affinity_of(py::module_& m, const std::string& dtype) {
    m.def(("path_affinity_" + dtype).c_str(),
          [](Address boundary, Address affinity, std::int64_t images, std::int64_t height,
             std::int64_t width, int radius, int threads) {
              call(threads, [&](const Execution& execution) {
                  path_affinity<T>({pointer<const T>(boundary), pointer<T>(affinity), images,
                                    height, width, radius, execution});
              });
          },
          py::arg("boundary"), py::arg("affinity"), py::arg("images"), py::arg("height"),
          py::arg("width"), py::arg("radius"), py::arg("threads"));
    m.def(("path_affinity_backward_workspace_bytes_" + dtype).c_str(),
          [](std::int64_t images, std::int64_t height, std::int64_t width, int radius) {
              return path_affinity_backward_workspace_bytes<T>(
                  {nullptr, nullptr, nullptr, nullptr, images, height, width, radius, {}});
          },
          py::arg("images"), py::arg("height"), py::arg("width"), py::arg("radius"));
    m.def(
        ("path_affinity_backward_" + dtype).c_str(),
        [](Address grad_affinity, Address boundary, Address grad_boundary, Address workspace,
           std::int64_t images, std::int64_t height, std::int64_t width, int radius, int threads) {
            call(threads, [&](const Execution& execution) {
                path_affinity_backward<T>({pointer<const T>(grad_affinity),
                                           pointer<const T>(boundary), pointer<T>(grad_boundary),
                                           pointer<void>(workspace), images, height, width, radius,
                                           execution});
            });
        },
        py::arg("grad_affinity"), py::arg("boundary"), py::arg("grad_boundary"),
        py::arg("workspace"), py::arg("images"), py::arg("height"), py::arg("width"),
        py::arg("radius"), py::arg("threads"));
}

void bind_path_affinity(py::module_& m) {
    m.def(
        "path_offsets",
        [](int radius) {
            const Paths paths(radius);
            std::vector<std::pair<int, int>> offsets;
            for (const Offset& offset : paths.offsets()) {
                offsets.emplace_back(offset.dy, offset.dx);
            }
            return offsets;
        },
        py::arg("radius"));
    bind_path_affinity_of<float>(m, "float32");
    bind_path_affinity_of<double>(m, "float64");
}

template <typename T>
void bind_affinity_displacement_of(py::module_& m, const std::string& dtype) {
    m.def(("affinity_displacement_" + dtype).c_str(),
          [](Address boundary_logits, Address displacement, Address labels, Address sums,
             Address counts, std::int64_t images, std::int64_t height, std::int64_t width,
             int radius, int threads) {
              call(threads, [&](const Execution& execution) {
                  affinity_displacement<T>(
                      {pointer<const T>(boundary_logits), pointer<const T>(displacement),
                       pointer<const std::int32_t>(labels), pointer<T>(sums),
                       pointer<std::int64_t>(counts), images, height, width, radius, execution});
              });
          },
          py::kw_only(), py::arg("boundary_logits"), py::arg("displacement"), py::arg("labels"),
          py::arg("sums"), py::arg("counts"), py::arg("images"), py::arg("height"),
          py::arg("width"), py::arg("radius"), py::arg("threads"));
    m.def(("affinity_displacement_backward_workspace_bytes_" + dtype).c_str(),
          &affinity_displacement_backward_workspace_bytes<T>, py::kw_only(), py::arg("images"),
          py::arg("height"), py::arg("width"), py::arg("radius"));
    m.def(
        ("affinity_displacement_backward_" + dtype).c_str(),
        [](Address grad_sums, Address boundary_logits, Address displacement, Address labels,
           Address grad_boundary_logits, Address grad_displacement, Address workspace,
           std::int64_t images, std::int64_t height, std::int64_t width, int radius, int threads) {
            call(threads, [&](const Execution& execution) {
                affinity_displacement_backward<T>(
                    {pointer<const T>(grad_sums), pointer<const T>(boundary_logits),
                     pointer<const T>(displacement), pointer<const std::int32_t>(labels),
                     pointer<T>(grad_boundary_logits), pointer<T>(grad_displacement),
                     pointer<void>(workspace), images, height, width, radius, execution});
            });
        },
        py::kw_only(), py::arg("grad_sums"), py::arg("boundary_logits"), py::arg("displacement"),
        py::arg("labels"), py::arg("grad_boundary_logits"), py::arg("grad_displacement"),
        py::arg("workspace"), py::arg("images"), py::arg("height"), py::arg("width"),
        py::arg("radius"), py::arg("threads"));
}

void bind_affinity_displacement(py::module_& m) {
    bind_affinity_displacement_of<float>(m, "float32");
    bind_affinity_displacement_of<double>(m, "float64");
}

// A batch as Python hands it over: the addresses of its arrays in the order of the struct, and
// images, maps, height and width.
using WalkBatchTuple = std::pair<std::array<Address, 3>, std::array<std::int64_t, 4>>;
using WalkGradientBatchTuple = std::pair<std::array<Address, 5>, std::array<std::int64_t, 4>>;

template <typename T>
std::vector<WalkBatch<T>> walk_batches(const std::vector<WalkBatchTuple>& tuples) {
    std::vector<WalkBatch<T>> batches;
    for (const auto& [at, size] : tuples) {
        batches.push_back({pointer<const T>(at[0]), pointer<const T>(at[1]), pointer<T>(at[2]),
                           size[0], size[1], size[2], size[3]});
    }
    return batches;
}

template <typename T>
std::vector<WalkGradientBatch<T>> walk_batches(const std::vector<WalkGradientBatchTuple>& tuples) {
    std::vector<WalkGradientBatch<T>> batches;
    for (const auto& [at, size] : tuples) {
        batches.push_back({pointer<const T>(at[0]), pointer<const T>(at[1]),
                           pointer<const T>(at[2]), pointer<T>(at[3]), pointer<T>(at[4]), size[0],
                           size[1], size[2], size[3]});
    }
    return batches;
}

WalkMethod walk_method(const std::string& name) {
    if (name == "chebyshev") return WalkMethod::kChebyshev;
    if (name == "power") return WalkMethod::kPower;
    refuse("method: expected chebyshev or power, got ", name);
}

// `name` (forward or backward) and its workspace, which differ in their batches alone.
template <typename T, typename Params, typename Tuple>
void bind_walk(py::module_& m, const std::string& name, const std::string& dtype,
               std::int64_t (*workspace_bytes)(const Params&), void (*run)(const Params&)) {
    m.def((name + "_workspace_bytes_" + dtype).c_str(),
          [workspace_bytes](const std::vector<Tuple>& tuples, int radius, int threads) {
              const auto batches = walk_batches<T>(tuples);
              Params params{};
              params.batches = batches.data();
              params.batch_count = static_cast<std::int64_t>(batches.size());
              params.options.radius = radius;
              params.execution.threads = threads;
              return workspace_bytes(params);
          },
          py::arg("batches"), py::arg("radius"), py::arg("threads"));
    m.def((name + "_" + dtype).c_str(),
          [run](const std::vector<Tuple>& tuples, int radius, double beta, std::int64_t steps,
                const std::string& method, double tol, Address workspace, int threads) {
              const auto batches = walk_batches<T>(tuples);
              Params params{};
              params.batches = batches.data();
              params.batch_count = static_cast<std::int64_t>(batches.size());
              params.options = {radius, beta, steps, walk_method(method), tol};
              params.workspace = pointer<void>(workspace);
              call(threads, [&](const Execution& execution) {
                  params.execution = execution;
                  run(params);
              });
          },
          py::arg("batches"), py::arg("radius"), py::arg("beta"), py::arg("steps"),
          py::arg("method"), py::arg("tol"), py::arg("workspace"), py::arg("threads"));
}

template <typename T>
void bind_random_walk_of(py::module_& m, const std::string& dtype) {
    bind_walk<T, RandomWalkParams<T>, WalkBatchTuple>(m, "random_walk", dtype,
                                                      &random_walk_workspace_bytes, &random_walk);
    bind_walk<T, RandomWalkBackwardParams<T>, WalkGradientBatchTuple>(
        m, "random_walk_backward", dtype, &random_walk_backward_workspace_bytes,
        &random_walk_backward);
}

void bind_random_walk(py::module_& m) {
    m.def("chebyshev_of_power", &chebyshev_of_power, py::arg("n"), py::arg("tol"));
    bind_random_walk_of<float>(m, "float32");
    bind_random_walk_of<double>(m, "float64");
}

template <typename T>
void bind_values_of(py::module_& m, const std::string& dtype) {
    m.def(("first_outside_" + dtype).c_str(),
          [](Address values, std::int64_t count, double low, double high) {
              py::gil_scoped_release release;
              return first_outside(pointer<const T>(values), count, static_cast<T>(low),
                                   static_cast<T>(high));
          },
          py::arg("values"), py::arg("count"), py::arg("low"), py::arg("high"));
}

template <typename Label>
void bind_labels_of(py::module_& m, const std::string& dtype) {
    m.def(("copy_labels_" + dtype).c_str(),
          [](Address source, std::int64_t count, Address out) {
              py::gil_scoped_release release;
              return copy_labels(pointer<const Label>(source), count, pointer<std::int32_t>(out));
          },
          py::arg("source"), py::arg("count"), py::arg("out"));
}

void bind_values(py::module_& m) {
    bind_values_of<float>(m, "float32");
    bind_values_of<double>(m, "float64");
    bind_labels_of<std::uint8_t>(m, "uint8");
    bind_labels_of<std::int8_t>(m, "int8");
    bind_labels_of<std::int16_t>(m, "int16");
    bind_labels_of<std::int32_t>(m, "int32");
    bind_labels_of<std::int64_t>(m, "int64");
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

// ---- CUDA --------------------------------------------------------------------------------------

#if defined(WSSS_FAST_CUDA)

// The number of a device and the address of a stream.
using PlaceTuple = std::pair<int, Address>;

cuda::Place cuda_place(const PlaceTuple& place) {
    return {place.first, pointer<void>(place.second)};
}

template <typename T>
void bind_cuda_lattice_of(py::module_& m, const std::string& dtype) {
    using Builder = cuda::LatticeBuilder<T>;
    using Release = py::call_guard<py::gil_scoped_release>;
    py::class_<Builder>(m, ("CudaLatticeBuilder_" + dtype).c_str())
        .def(py::init([](const std::string& kind, std::int64_t images, std::int64_t height,
                         std::int64_t width, int dims, const std::array<double, 5>& scales,
                         Address image_bytes, Address image, Address features,
                         const PlaceTuple& place) {
                 cuda::LatticePoints<T> points;
                 points.kind = crf_features(kind);
                 points.images = images;
                 points.height = height;
                 points.width = width;
                 points.dims = dims;
                 for (std::size_t i = 0; i < 2; ++i) points.sxy[i] = static_cast<T>(scales[i]);
                 for (std::size_t i = 0; i < 3; ++i) points.srgb[i] = static_cast<T>(scales[2 + i]);
                 points.image_bytes = pointer<const std::uint8_t>(image_bytes);
                 points.image = pointer<const T>(image);
                 points.features = pointer<const T>(features);
                 return Builder(kind.c_str(), points, cuda_place(place));
             }),
             py::kw_only(), py::arg("kind"), py::arg("images"), py::arg("height"), py::arg("width"),
             py::arg("dims"), py::arg("scales"), py::arg("image_bytes"), py::arg("image"),
             py::arg("features"), py::arg("place"))
        .def("sorting_bytes", &Builder::sorting_bytes)
        .def(
            "sort",
            [](Builder& builder, Address workspace, Address vertices) {
                builder.sort(pointer<void>(workspace), pointer<std::int32_t>(vertices));
            },
            py::arg("workspace"), py::arg("vertices"), Release())
        .def("rows_of_capacity", &Builder::rows_of_capacity, py::arg("capacity"))
        .def("linking_bytes", &Builder::linking_bytes, py::arg("rows"))
        .def("lattice_bytes", &Builder::lattice_bytes, py::arg("rows"))
        .def(
            "link",
            [](Builder& builder, std::int64_t rows, std::int64_t capacity, Address workspace,
               Address lattice) {
                builder.link(rows, capacity, pointer<void>(workspace), pointer<void>(lattice));
            },
            py::arg("rows"), py::arg("capacity"), py::arg("workspace"), py::arg("lattice"),
            Release());

    const auto params = [](Address lattice, std::int64_t lattice_bytes, std::int64_t images,
                           std::int64_t points, int dims, std::int64_t channels) {
        cuda::LatticeFilterParams<T> filter;
        filter.lattice = pointer<void>(lattice);
        filter.lattice_bytes = lattice_bytes;
        filter.images = images;
        filter.points = points;
        filter.dims = dims;
        filter.channels = channels;
        return filter;
    };
    m.def(("cuda_lattice_filter_workspace_bytes_" + dtype).c_str(),
          [params](Address lattice, std::int64_t lattice_bytes, std::int64_t images,
                   std::int64_t points, int dims, std::int64_t channels) {
              return cuda::lattice_filter_workspace_bytes(
                  params(lattice, lattice_bytes, images, points, dims, channels));
          },
          py::kw_only(), py::arg("lattice"), py::arg("lattice_bytes"), py::arg("images"),
          py::arg("points"), py::arg("dims"), py::arg("channels"));
    m.def(("cuda_lattice_filter_" + dtype).c_str(),
          [params](Address lattice, std::int64_t lattice_bytes, std::int64_t images,
                   std::int64_t points, int dims, std::int64_t channels, Address values,
                   Address out, bool transposed, Address workspace, const PlaceTuple& place) {
              auto filter = params(lattice, lattice_bytes, images, points, dims, channels);
              filter.values = pointer<const T>(values);
              filter.out = pointer<T>(out);
              filter.order = transposed ? BlurOrder::kTransposed : BlurOrder::kForward;
              filter.workspace = pointer<void>(workspace);
              filter.place = cuda_place(place);
              cuda::lattice_filter(filter);
          },
          py::kw_only(), py::arg("lattice"), py::arg("lattice_bytes"), py::arg("images"),
          py::arg("points"), py::arg("dims"), py::arg("channels"), py::arg("values"),
          py::arg("out"), py::arg("transposed"), py::arg("workspace"), py::arg("place"), Release());
}

// One pairwise term: kind, lattice, its bytes, dims, kind of compat, compat, normalisation.
using CudaTermTuple =
    std::tuple<std::string, Address, std::int64_t, int, std::string, Address, std::string>;

// What the workspace of the CRF depends on, and what else it takes.
template <typename T>
struct CudaCrf {
    cuda::CrfParams<T> params;
    std::vector<cuda::CrfTerm<T>> terms;

    CudaCrf(std::int64_t images, std::int64_t sets, std::int64_t classes, std::int64_t points,
            const std::vector<CudaTermTuple>& tuples) {
        for (const auto& [kind, lattice, bytes, dims, compat_kind, compat, normalization] :
             tuples) {
            terms.push_back({crf_features(kind), pointer<void>(lattice), bytes, dims,
                             crf_compat(compat_kind), pointer<const T>(compat),
                             crf_normalization(normalization)});
        }
        params.images = images;
        params.sets = sets;
        params.classes = classes;
        params.points = points;
        params.terms = terms.data();
        params.term_count = static_cast<int>(terms.size());
    }
};

template <typename T>
void bind_cuda_crf_of(py::module_& m, const std::string& dtype) {
    m.def(("cuda_crf_workspace_bytes_" + dtype).c_str(),
          [](std::int64_t images, std::int64_t sets, std::int64_t classes, std::int64_t points,
             const std::vector<CudaTermTuple>& terms) {
              return cuda::crf_workspace_bytes(
                  CudaCrf<T>(images, sets, classes, points, terms).params);
          },
          py::kw_only(), py::arg("images"), py::arg("sets"), py::arg("classes"), py::arg("points"),
          py::arg("terms"));
    m.def(("cuda_crf_" + dtype).c_str(),
          [](std::int64_t images, std::int64_t sets, std::int64_t classes, std::int64_t points,
             const std::vector<CudaTermTuple>& terms, Address unary, cuda::Element element,
             cuda::CrfOutput output, Address out, int label_bytes, int iterations,
             Address workspace, const PlaceTuple& place) {
              CudaCrf<T> crf(images, sets, classes, points, terms);
              crf.params.unary = pointer<const void>(unary);
              crf.params.element = element;
              crf.params.output = output;
              crf.params.out = pointer<void>(out);
              crf.params.label_bytes = label_bytes;
              crf.params.iterations = iterations;
              crf.params.workspace = pointer<void>(workspace);
              crf.params.place = cuda_place(place);
              py::gil_scoped_release release;
              cuda::crf(crf.params);
          },
          py::kw_only(), py::arg("images"), py::arg("sets"), py::arg("classes"), py::arg("points"),
          py::arg("terms"), py::arg("unary"), py::arg("element"), py::arg("output"), py::arg("out"),
          py::arg("label_bytes"), py::arg("iterations"), py::arg("workspace"), py::arg("place"));
}

template <typename T>
void bind_cuda_path_affinity_of(py::module_& m, const std::string& dtype) {
    using Release = py::call_guard<py::gil_scoped_release>;
    m.def(("cuda_path_affinity_" + dtype).c_str(),
          [](Address boundary, Address affinity, cuda::Element element, std::int64_t images,
             std::int64_t height, std::int64_t width, int radius, const PlaceTuple& place) {
              cuda::path_affinity<T>({pointer<const void>(boundary), pointer<void>(affinity),
                                      element, images, height, width, radius, cuda_place(place)});
          },
          py::kw_only(), py::arg("boundary"), py::arg("affinity"), py::arg("element"),
          py::arg("images"), py::arg("height"), py::arg("width"), py::arg("radius"),
          py::arg("place"), Release());

    const auto gradient = [](std::int64_t images, std::int64_t height, std::int64_t width,
                             int radius) {
        cuda::PathGradientParams<T> params;
        params.sources = cuda::sources_inside(images, height, width, radius);
        params.stride = params.sources.columns;
        params.scale = T(-1);  // an affinity is 1 less the maximum
        return params;
    };
    m.def(("cuda_path_affinity_backward_workspace_bytes_" + dtype).c_str(),
          [gradient](std::int64_t images, std::int64_t height, std::int64_t width, int radius) {
              return cuda::path_gradient_workspace_bytes(gradient(images, height, width, radius));
          },
          py::kw_only(), py::arg("images"), py::arg("height"), py::arg("width"), py::arg("radius"));
    m.def(("cuda_path_affinity_backward_" + dtype).c_str(),
          [gradient](Address grad_affinity, Address boundary, cuda::Element element,
                     Address grad_boundary, Address workspace, std::int64_t images,
                     std::int64_t height, std::int64_t width, int radius, const PlaceTuple& place) {
              auto params = gradient(images, height, width, radius);
              params.boundary = pointer<const void>(boundary);
              params.element = element;
              params.grad_maxima = pointer<const void>(grad_affinity);
              params.grad_element = element;
              params.grad_boundary = pointer<T>(grad_boundary);
              params.workspace = pointer<void>(workspace);
              params.place = cuda_place(place);
              cuda::path_gradient(params);
          },
          py::kw_only(), py::arg("grad_affinity"), py::arg("boundary"), py::arg("element"),
          py::arg("grad_boundary"), py::arg("workspace"), py::arg("images"), py::arg("height"),
          py::arg("width"), py::arg("radius"), py::arg("place"), Release());
}

// Addresses of logits and displacement, their element; that of labels, their bytes and whether they
// are signed; images, height, width, radius.
using CudaPairsTuple = std::tuple<Address, Address, cuda::Element, Address, int, bool, std::int64_t,
                                  std::int64_t, std::int64_t, int>;

cuda::PairInputs cuda_pairs(const CudaPairsTuple& tuple) {
    const auto& [logits, displacement, element, labels, label_bytes, label_signed, images, height,
                 width, radius] = tuple;
    return {pointer<const void>(logits),
            pointer<const void>(displacement),
            element,
            pointer<const void>(labels),
            label_bytes,
            label_signed,
            images,
            height,
            width,
            radius};
}

template <typename T>
void bind_cuda_affinity_displacement_of(py::module_& m, const std::string& dtype) {
    using Release = py::call_guard<py::gil_scoped_release>;
    m.def(("cuda_affinity_displacement_workspace_bytes_" + dtype).c_str(),
          [](const CudaPairsTuple& inputs) {
              return cuda::affinity_displacement_workspace_bytes<T>(cuda_pairs(inputs));
          },
          py::kw_only(), py::arg("inputs"));
    m.def(("cuda_affinity_displacement_" + dtype).c_str(),
          [](const CudaPairsTuple& inputs, Address sums, Address counts, Address workspace,
             const PlaceTuple& place) {
              cuda::affinity_displacement<T>({cuda_pairs(inputs), pointer<T>(sums),
                                              pointer<std::int64_t>(counts),
                                              pointer<void>(workspace), cuda_place(place)});
          },
          py::kw_only(), py::arg("inputs"), py::arg("sums"), py::arg("counts"),
          py::arg("workspace"), py::arg("place"), Release());
    m.def(("cuda_affinity_displacement_backward_workspace_bytes_" + dtype).c_str(),
          [](const CudaPairsTuple& inputs) {
              return cuda::affinity_displacement_backward_workspace_bytes<T>(cuda_pairs(inputs));
          },
          py::kw_only(), py::arg("inputs"));
    m.def(("cuda_affinity_displacement_backward_" + dtype).c_str(),
          [](const CudaPairsTuple& inputs, Address grad_sums, Address grad_boundary_logits,
             Address grad_displacement, Address workspace, const PlaceTuple& place) {
              cuda::affinity_displacement_backward<T>(
                  {cuda_pairs(inputs), pointer<const T>(grad_sums),
                   pointer<void>(grad_boundary_logits), pointer<void>(grad_displacement),
                   pointer<void>(workspace), cuda_place(place)});
          },
          py::kw_only(), py::arg("inputs"), py::arg("grad_sums"), py::arg("grad_boundary_logits"),
          py::arg("grad_displacement"), py::arg("workspace"), py::arg("place"), Release());
}

// The random walk and its gradient, which differ in their batches alone.
cuda::WalkBatch cuda_walk_batch(const WalkBatchTuple& tuple) {
    const auto& [at, size] = tuple;
    return {pointer<const void>(at[0]),
            pointer<const void>(at[1]),
            pointer<void>(at[2]),
            size[0],
            size[1],
            size[2],
            size[3]};
}
cuda::WalkGradientBatch cuda_walk_batch(const WalkGradientBatchTuple& tuple) {
    const auto& [at, size] = tuple;
    return {pointer<const void>(at[0]),
            pointer<const void>(at[1]),
            pointer<const void>(at[2]),
            pointer<void>(at[3]),
            pointer<void>(at[4]),
            size[0],
            size[1],
            size[2],
            size[3]};
}

template <typename Params, typename Tuple>
void bind_cuda_walk(py::module_& m, const std::string& name, const std::string& dtype,
                    std::int64_t (*workspace_bytes)(const Params&), void (*run)(const Params&)) {
    // body(params)
    const auto with_params = [](const std::vector<Tuple>& tuples, const WalkOptions& options,
                                cuda::Element element, auto&& body) {
        std::vector<decltype(cuda_walk_batch(tuples[0]))> batches;
        for (const Tuple& tuple : tuples) batches.push_back(cuda_walk_batch(tuple));
        Params params;
        params.batches = batches.data();
        params.batch_count = static_cast<std::int64_t>(batches.size());
        params.options = options;
        params.element = element;
        return body(params);
    };
    m.def((name + "_workspace_bytes_" + dtype).c_str(),
          [=](const std::vector<Tuple>& tuples, int radius, double beta, std::int64_t steps,
              const std::string& method, double tol, cuda::Element element) {
              const WalkOptions options{radius, beta, steps, walk_method(method), tol};
              return with_params(tuples, options, element, workspace_bytes);
          },
          py::arg("batches"), py::arg("radius"), py::arg("beta"), py::arg("steps"),
          py::arg("method"), py::arg("tol"), py::arg("element"));
    m.def((name + "_" + dtype).c_str(),
          [=](const std::vector<Tuple>& tuples, int radius, double beta, std::int64_t steps,
              const std::string& method, double tol, cuda::Element element, Address workspace,
              const PlaceTuple& place) {
              const WalkOptions options{radius, beta, steps, walk_method(method), tol};
              py::gil_scoped_release release;
              with_params(tuples, options, element, [&](Params& params) {
                  params.workspace = pointer<void>(workspace);
                  params.place = cuda_place(place);
                  run(params);
              });
          },
          py::arg("batches"), py::arg("radius"), py::arg("beta"), py::arg("steps"),
          py::arg("method"), py::arg("tol"), py::arg("element"), py::arg("workspace"),
          py::arg("place"));
}

template <typename T>
void bind_cuda_random_walk_of(py::module_& m, const std::string& dtype) {
    bind_cuda_walk<cuda::RandomWalkParams<T>, WalkBatchTuple>(
        m, "cuda_random_walk", dtype, &cuda::random_walk_workspace_bytes, &cuda::random_walk);
    bind_cuda_walk<cuda::RandomWalkBackwardParams<T>, WalkGradientBatchTuple>(
        m, "cuda_random_walk_backward", dtype, &cuda::random_walk_backward_workspace_bytes,
        &cuda::random_walk_backward);
}

// An input of cam_fusion or tta.
std::vector<cuda::SizedInput> cuda_inputs(const std::vector<PlainInput>& inputs) {
    if (inputs.size() > cuda::kMostInputs) {
        refuse("inputs: expected at most ", cuda::kMostInputs, ", got ", inputs.size());
    }
    std::vector<cuda::SizedInput> result;
    for (const auto& [data, height, width, flipped] : inputs) {
        result.push_back({pointer<const void>(data), static_cast<std::int32_t>(height),
                          static_cast<std::int32_t>(width), flipped});
    }
    return result;
}

template <typename T>
void bind_cuda_cam_fusion_of(py::module_& m, const std::string& dtype) {
    m.def(("cuda_cam_fusion_workspace_bytes_" + dtype).c_str(),
          [](const std::vector<PlainInput>& inputs, std::size_t targets, std::size_t maps,
             std::size_t images, CamNormalize normalize) {
              cuda::CamFusionParams<T> params;
              params.inputs = cuda_inputs(inputs);
              params.targets.resize(targets);
              params.maps.resize(maps);
              params.image_begin.resize(images + 1);
              params.normalize = normalize;
              return cuda::cam_fusion_workspace_bytes(params);
          },
          py::kw_only(), py::arg("inputs"), py::arg("targets"), py::arg("maps"), py::arg("images"),
          py::arg("normalize"));
    m.def(("cuda_cam_fusion_" + dtype).c_str(),
          [](const std::vector<PlainInput>& inputs, const std::vector<PlainTarget>& targets,
             std::vector<std::int64_t> maps, std::vector<std::int64_t> image_begin,
             cuda::Element element, CamRelu relu, CamNormalize normalize, Address workspace,
             const PlaceTuple& place) {
              cuda::CamFusionParams<T> params;
              params.inputs = cuda_inputs(inputs);
              for (const auto& [height, width, crop_height, crop_width, outputs] : targets) {
                  cuda::CamTarget target{static_cast<std::int32_t>(height),
                                         static_cast<std::int32_t>(width),
                                         static_cast<std::int32_t>(crop_height),
                                         static_cast<std::int32_t>(crop_width),
                                         {}};
                  for (const Address address : outputs) {
                      target.outputs.push_back(pointer<void>(address));
                  }
                  params.targets.push_back(std::move(target));
              }
              params.maps = std::move(maps);
              params.image_begin = std::move(image_begin);
              params.element = element;
              params.relu = relu;
              params.normalize = normalize;
              params.workspace = pointer<void>(workspace);
              params.place = cuda_place(place);
              py::gil_scoped_release release;
              cuda::cam_fusion(params);
          },
          py::kw_only(), py::arg("inputs"), py::arg("targets"), py::arg("maps"),
          py::arg("image_begin"), py::arg("element"), py::arg("relu"), py::arg("normalize"),
          py::arg("workspace"), py::arg("place"));
}

template <typename T>
void bind_cuda_tta_of(py::module_& m, const std::string& dtype) {
    m.def(("cuda_tta_workspace_bytes_" + dtype).c_str(),
          [](const std::vector<PlainInput>& inputs, std::int64_t images, std::int64_t classes,
             std::int32_t height, std::int32_t width, TtaActivation activation) {
              cuda::TtaParams params;
              params.inputs = cuda_inputs(inputs);
              params.images = images;
              params.classes = classes;
              params.height = height;
              params.width = width;
              params.activation = activation;
              return cuda::tta_workspace_bytes<T>(params);
          },
          py::kw_only(), py::arg("inputs"), py::arg("images"), py::arg("classes"),
          py::arg("height"), py::arg("width"), py::arg("activation"));
    m.def(
        ("cuda_tta_merge_" + dtype).c_str(),
        [](const std::vector<PlainInput>& inputs, std::int64_t images, std::int64_t classes,
           std::int32_t height, std::int32_t width, TtaActivation activation, cuda::Element element,
           Address out, int label_bytes, Address workspace, const PlaceTuple& place) {
            cuda::TtaParams params;
            params.inputs = cuda_inputs(inputs);
            params.images = images;
            params.classes = classes;
            params.height = height;
            params.width = width;
            params.activation = activation;
            params.element = element;
            params.out = pointer<void>(out);
            params.label_bytes = label_bytes;
            params.workspace = pointer<void>(workspace);
            params.place = cuda_place(place);
            py::gil_scoped_release release;
            cuda::tta_merge<T>(params);
        },
        py::kw_only(), py::arg("inputs"), py::arg("images"), py::arg("classes"), py::arg("height"),
        py::arg("width"), py::arg("activation"), py::arg("element"), py::arg("out"),
        py::arg("label_bytes"), py::arg("workspace"), py::arg("place"));
}

void bind_cuda(py::module_& m) {
    py::enum_<cuda::Element>(m, "Element")
        .value("float32", cuda::Element::kFloat32)
        .value("float64", cuda::Element::kFloat64)
        .value("float16", cuda::Element::kFloat16)
        .value("bfloat16", cuda::Element::kBfloat16);
    py::enum_<cuda::CrfOutput>(m, "CrfOutput")
        .value("probs", cuda::CrfOutput::kProbs)
        .value("log_probs", cuda::CrfOutput::kLogProbs)
        .value("labels", cuda::CrfOutput::kLabels);
    bind_cuda_lattice_of<float>(m, "float32");
    bind_cuda_lattice_of<double>(m, "float64");
    bind_cuda_crf_of<float>(m, "float32");
    bind_cuda_crf_of<double>(m, "float64");
    bind_cuda_path_affinity_of<float>(m, "float32");
    bind_cuda_path_affinity_of<double>(m, "float64");
    bind_cuda_affinity_displacement_of<float>(m, "float32");
    bind_cuda_affinity_displacement_of<double>(m, "float64");
    bind_cuda_random_walk_of<float>(m, "float32");
    bind_cuda_random_walk_of<double>(m, "float64");
    m.attr("CUDA_MOST_INPUTS") = cuda::kMostInputs;
    bind_cuda_cam_fusion_of<float>(m, "float32");
    bind_cuda_cam_fusion_of<double>(m, "float64");
    bind_cuda_tta_of<float>(m, "float32");
    bind_cuda_tta_of<double>(m, "float64");
}

#endif

#if defined(WSSS_FAST_CUDA_ON_HOST)

// ---- what the tests of kernels on the host are themselves tested by ----------------------------

template <typename T>
using Plain = std::conditional_t<std::is_pointer_v<T>, Address, T>;

template <typename T>
T from_plain(Plain<T> value) {
    if constexpr (std::is_pointer_v<T>) {
        return pointer<std::remove_pointer_t<T>>(value);
    } else {
        return value;
    }
}

// A function of pointers and numbers becomes one of addresses and numbers.
template <typename Result, typename... Parameters>
void def_shim(py::module_& m, const char* name, Result (*function)(Parameters...)) {
    m.def(name, [function](Plain<Parameters>... args) {
        py::gil_scoped_release release;
        return function(from_plain<Parameters>(args)...);
    });
}

void set_order(const std::string& name, std::uint32_t seed) {
    using testing::Order;
    if (name == "forward") return testing::set_order(Order::kForward, seed);
    if (name == "reversed") return testing::set_order(Order::kReversed, seed);
    if (name == "shuffled") return testing::set_order(Order::kShuffled, seed);
    if (name == "in turn") return testing::set_order({}, seed);
    refuse("order: expected forward, reversed, shuffled or in turn, got ", name);
}

void bind_shim(py::module_& parent) {
    using testing::Divergence;
    py::module_ m = parent.def_submodule("shim");
    py::enum_<Divergence>(m, "Divergence")
        .value("return_before_barrier", Divergence::kReturnBeforeBarrier)
        .value("return_before_lanes", Divergence::kReturnBeforeLanes)
        .value("barrier_and_lanes", Divergence::kBarrierAndLanes)
        .value("barrier_and_grid", Divergence::kBarrierAndGrid)
        .value("masks", Divergence::kMasks)
        .value("kinds", Divergence::kKinds)
        .value("not_in_mask", Divergence::kNotInMask)
        .value("beyond_block", Divergence::kBeyondBlock)
        .value("circle", Divergence::kCircle)
        .value("grid_not_together", Divergence::kGridNotTogether);
    m.def("set_order", &set_order);
    def_shim(m, "reverse", &testing::shim_reverse);
    def_shim(m, "tree_sum", &testing::shim_tree_sum);
    def_shim(m, "write", &testing::shim_write);
    def_shim(m, "carve_bytes", &testing::shim_carve_bytes);
    def_shim(m, "write_carved", &testing::shim_write_carved);
    def_shim(m, "write_past_shared", &testing::shim_write_past_shared);
    def_shim(m, "overflow_stack", &testing::shim_overflow_stack);
    def_shim(m, "shuffles", &testing::shim_shuffles);
    def_shim(m, "votes", &testing::shim_votes);
    def_shim(m, "atomics", &testing::shim_atomics);
    def_shim(m, "grid_sum", &testing::shim_grid_sum);
    def_shim(m, "cluster_sum", &testing::shim_cluster_sum);
    def_shim(m, "diverge", &testing::shim_diverge);
    def_shim(m, "sort_scratch_bytes", &cuda::sort_scratch_bytes);
    def_shim(m, "sort", &testing::shim_sort);
    def_shim(m, "sum_scratch_bytes", &cuda::sum_scratch_bytes);
    def_shim(m, "running_sum", &testing::shim_running_sum);
}

#endif

}  // namespace
}  // namespace wsss_fast

PYBIND11_MODULE(_C, m) {
    using namespace wsss_fast;
    m.doc() = "The C++ core of wsss_fast. Private: call it through wsss_fast._launch only.";
    m.def("build_info", &build_info);
#if defined(WSSS_FAST_CUDA_ON_HOST)
    m.attr("CUDA") = "host";
#elif defined(WSSS_FAST_CUDA)
    m.attr("CUDA") = "device";
#else
    m.attr("CUDA") = "none";
#endif
    bind_crf(m);
    bind_path_affinity(m);
    bind_affinity_displacement(m);
    bind_random_walk(m);
    bind_values(m);
    bind_cam_fusion(m);
    bind_tta(m);
#if defined(WSSS_FAST_CUDA)
    bind_cuda(m);
#endif
#if defined(WSSS_FAST_CUDA_ON_HOST)
    bind_shim(m);
#endif
}
