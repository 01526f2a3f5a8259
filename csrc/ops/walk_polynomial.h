#pragma once

#include <limits>
#include <vector>

#include "common/chebyshev.h"
#include "ops/random_walk.h"

// What a walk of many steps is taken for: c with T^steps ~ sum over k of c[k] P_k(T), P_k the
// Chebyshev polynomials.
namespace wsss_fast {

// Of WalkMethod::kChebyshev.
inline std::vector<double> walk_polynomial(const WalkOptions& options) {
    return chebyshev_of_power(options.steps, options.tol);
}

// The gradient is that of the sum that stands for the walk; taken step by step, it is one of all
// that counts in T.
template <typename T>
std::vector<double> walk_gradient_polynomial(const WalkOptions& options) {
    if (options.method == WalkMethod::kChebyshev) return walk_polynomial(options);
    return chebyshev_of_power(options.steps, std::numeric_limits<T>::epsilon() / 4);
}

}  // namespace wsss_fast
