#pragma once

namespace wsss_fast::cuda {

// Of numbers in memory, where it is chosen at run time.
enum class Element { kFloat32, kFloat64, kFloat16, kBfloat16 };

}  // namespace wsss_fast::cuda
