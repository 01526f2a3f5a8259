#pragma once

#include <type_traits>

namespace wsss_fast::cuda {

// Of numbers in memory, where it is chosen at run time.
enum class Element { kFloat32, kFloat64, kFloat16, kBfloat16 };

// That of float and double.
template <typename T>
constexpr Element kElementOf = std::is_same_v<T, float> ? Element::kFloat32 : Element::kFloat64;

}  // namespace wsss_fast::cuda
