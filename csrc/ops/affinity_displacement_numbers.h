#pragma once

#include <cstdint>

// Numbers that the loss on pairs has on the CPU and on CUDA.
namespace wsss_fast {

constexpr std::int32_t kBackgroundLabel = 0;  // what is above is foreground
constexpr std::int32_t kUnconfident = 255;

template <typename T>
constexpr T kPairEpsilon = static_cast<T>(1e-5);
template <typename T>
constexpr T kOneAndPairEpsilon = static_cast<T>(1 + 1e-5);

// The fields of a number, and how many numbers of at least kPairEpsilon can be multiplied before
// the product leaves the range.
template <typename T>
struct PairFields;
template <>
struct PairFields<float> {
    static constexpr int kExponent = 23;
    static constexpr std::int32_t kBias = 127;
    static constexpr int kFactors = 7;
};
template <>
struct PairFields<double> {
    static constexpr int kExponent = 52;
    static constexpr std::int64_t kBias = 1023;
    static constexpr int kFactors = 60;
};

}  // namespace wsss_fast
