#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "common/parallel.h"
#include "driver/arrays.h"

// Calls of the ops that the driver repeats in every way it knows.
namespace wsss_fast::driver {

struct Case {
    std::string name;
    // Makes the call and gives all that came out. From several threads at once.
    std::function<Bytes(const Execution&)> run;
    // Holds what came out against what is known of it.
    std::function<void(const std::string& name)> check;
};
using Cases = std::vector<Case>;

struct Size {
    std::int64_t images;
    std::int64_t height;
    std::int64_t width;

    std::int64_t pixels() const { return height * width; }
};

// "name float32 2x37x53"
std::string case_name(const std::string& op, const std::string& dtype, const Size& size);

template <typename T>
std::string dtype_name() {
    return std::is_same_v<T, float> ? "float32" : "float64";
}

// What rounding may do in a sum of some thousand numbers of about 1.
template <typename T>
constexpr double kTolerance = std::is_same_v<T, float> ? 2e-4 : 1e-9;

// The threads with which checks call the ops.
constexpr Execution kForChecks{3, nullptr};

void add_crf_cases(Cases& cases, const Size& size);
void add_lattice_cases(Cases& cases, const Size& size);
void add_walk_cases(Cases& cases, const Size& size);
void add_path_cases(Cases& cases, const Size& size);
void add_pairs_cases(Cases& cases, const Size& size);
void add_fusion_cases(Cases& cases, const Size& size);
void add_tta_cases(Cases& cases, const Size& size);

// Of functions that take no Execution: once.
void check_small_functions();

}  // namespace wsss_fast::driver
