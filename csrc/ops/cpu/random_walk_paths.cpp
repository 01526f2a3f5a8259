#include "ops/cpu/random_walk_paths.h"

#include <cmath>

#include "ops/cpu/random_walk_isa.h"
#include "ops/walk_affinity.h"

namespace wsss_fast {

template <typename T>
void raise_affinities(T* values, std::int64_t count, double exponent) {
    if (is_multiplied_out(exponent)) {
        walk_loops<T>().raise(values, count, static_cast<int>(exponent));
        return;
    }
    for (std::int64_t i = 0; i < count; ++i) {
        const T power = std::pow(values[i], static_cast<T>(exponent));
        values[i] = power < kLeastAffinity<T> ? T(0) : power;
    }
}

template void raise_affinities(float*, std::int64_t, double);
template void raise_affinities(double*, std::int64_t, double);

}  // namespace wsss_fast
