#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "common/refuse.h"

namespace wsss_fast {

constexpr int kMaxLatticeDims = 16;
constexpr int kMaxLatticeCorners = kMaxLatticeDims + 1;

// As far from the origin as the hyperplane's coordinates may reach: beyond it the spacing of T is
// no longer fine against the distance of two vertices, and for float64 they would leave 32 bits.
template <typename T>
constexpr double kLatticeReach = std::is_same_v<T, float> ? 262144.0 : 268435456.0;

// What is sliced is multiplied by this.
template <typename T>
T lattice_gain(int dims) {
    return T(1) / (T(1) + static_cast<T>(std::pow(T(2), -dims)));
}

// Takes features into the hyperplane x_0 + ... + x_d = 0, in which the lattice lies.
template <typename T>
struct LatticeEmbedding {
    int dims;
    T scale[kMaxLatticeDims];

    explicit LatticeEmbedding(int d) : dims(d) {
        // Scaled so that splatting, blurring and slicing together have unit variance. Rounded to T
        // in the same two steps as the established implementation: a last bit decides which
        // simplex a point on an edge belongs to.
        const auto deviation = static_cast<T>(std::sqrt(2.0 / 3.0) * (d + 1));
        for (int i = 0; i < d; ++i) {
            scale[i] = static_cast<T>(1.0 / std::sqrt(double(i + 1) * (i + 2)) * double(deviation));
        }
    }

    // The least and the greatest value of each coordinate of points whose feature i lies in
    // [low[i], high[i]]. Throws std::invalid_argument, naming the argument `name`, where they leave
    // the reach of T.
    void bounds(const char* name, const T* low, const T* high, double* least, double* most) const {
        double sum_low = 0;
        double sum_high = 0;
        for (int j = dims; j >= 0; --j) {
            least[j] = sum_low;
            most[j] = sum_high;
            if (j > 0) {
                const double scaled_low = double(low[j - 1]) * double(scale[j - 1]);
                const double scaled_high = double(high[j - 1]) * double(scale[j - 1]);
                least[j] -= j * scaled_high;
                most[j] -= j * scaled_low;
                sum_low += scaled_low;
                sum_high += scaled_high;
            }
            if (!(least[j] >= -kLatticeReach<T> && most[j] <= kLatticeReach<T>)) {
                refuse(name, ": expected features within reach of ",
                       std::is_same_v<T, float> ? "float32" : "float64",
                       " (a few thousand standard deviations from the origin), got lattice "
                       "coordinates from ",
                       least[j], " to ", most[j], "; are the standard deviations too small?");
            }
        }
    }
};

}  // namespace wsss_fast
