// The only file that knows Python. Addresses come in as integers from wsss_fast/_launch.py, which
// has made every tensor contiguous, of the right dtype, and keeps it alive through the call.
#include <pybind11/pybind11.h>

#include <cstdint>

#include "common/parallel.h"

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

}  // namespace
}  // namespace wsss_fast

PYBIND11_MODULE(_C, m) {
    using namespace wsss_fast;
    m.doc() = "The C++ core of wsss_fast. Private: call it through wsss_fast._launch only.";
    m.def("build_info", &build_info);
}
