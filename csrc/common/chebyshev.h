#pragma once

#include <cstdint>
#include <vector>

namespace wsss_fast {

// c with x^n ~ sum over k of c[k] P_k(x) on [-1, 1], P_k the Chebyshev polynomials: the smallest
// degree whose dropped coefficients sum to at most tol. The kept ones are scaled to sum to 1, which
// is what all of them sum to, so that x = 1 stays exact.
std::vector<double> chebyshev_of_power(std::int64_t n, double tol);

}  // namespace wsss_fast
