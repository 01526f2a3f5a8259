#include "common/chebyshev.h"

#include <cstddef>

namespace wsss_fast {

std::vector<double> chebyshev_of_power(std::int64_t n, double tol) {
    // The coefficients of x^n are (2 - [k = 0]) 2^-n binom(n, (n - k) / 2) for k = n, n - 2, ...
    // Neither the binomial nor 2^-n fits a double for large n, but their product is a product of
    // factors (2i - 1) / 2i at its largest, and falls by the ratio (n - k) / (n + k + 2) from
    // there.
    const std::int64_t lowest = n % 2;
    double value = lowest == 0 ? 1.0 : 2.0;
    for (std::int64_t i = 1; i <= (n + lowest) / 2; ++i) {
        value *= 1.0 - 0.5 / static_cast<double>(i);
    }
    std::vector<double> coefficients(static_cast<std::size_t>(lowest + 1), 0.0);
    coefficients.back() = value;
    for (std::int64_t k = lowest; k < n && value > 0.0; k += 2) {
        value *= static_cast<double>(n - k) / static_cast<double>(n + k + 2);
        if (k == 0) value *= 2.0;
        coefficients.push_back(0.0);
        coefficients.push_back(value);
    }

    double dropped = 0.0;
    while (coefficients.size() > static_cast<std::size_t>(lowest + 1) &&
           dropped + coefficients.back() <= tol) {
        dropped += coefficients.back();
        coefficients.resize(coefficients.size() - 2);
    }

    double kept = 0.0;
    for (auto c = coefficients.rbegin(); c != coefficients.rend(); ++c) kept += *c;
    for (double& c : coefficients) c /= kept;
    return coefficients;
}

}  // namespace wsss_fast
