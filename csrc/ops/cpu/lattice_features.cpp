#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/refuse.h"
#include "ops/lattice.h"

namespace wsss_fast {

template <typename T>
ArrayFeatures<T>::ArrayFeatures(const char* name, const T* features, int dims,
                                const PointOrder& order, const Execution& execution)
    : features_(features), dims_(dims), order_(order) {
    constexpr std::int64_t kGrain = 1 << 16;
    const std::int64_t points = order.points();
    const std::int64_t ranges = (points + kGrain - 1) / kGrain;
    for (int i = 0; i < dims; ++i) {
        const T* f = features + i * points;
        std::vector<T> low(static_cast<std::size_t>(ranges));
        std::vector<T> high(static_cast<std::size_t>(ranges));
        parallel_for(execution, points, kGrain, [&](std::int64_t begin, std::int64_t end) {
            T least = f[begin];
            T most = f[begin];
            bool finite = true;
            for (std::int64_t p = begin; p < end; ++p) {
                least = std::min(least, f[p]);
                most = std::max(most, f[p]);
                finite &= std::abs(f[p]) <= std::numeric_limits<T>::max();
            }
            const auto r = static_cast<std::size_t>(begin / kGrain);
            low[r] = finite ? least : std::numeric_limits<T>::quiet_NaN();
            high[r] = most;
        });
        for (std::int64_t r = 0; r < ranges; ++r) {
            if (low[static_cast<std::size_t>(r)] == low[static_cast<std::size_t>(r)]) continue;
            std::int64_t p = r * kGrain;
            while (std::abs(f[p]) <= std::numeric_limits<T>::max()) ++p;
            refuse(name, ": expected finite values, got ", f[p], " in feature ", i, " of point ",
                   p);
        }
        low_[i] = ranges ? *std::min_element(low.begin(), low.end()) : T(0);
        high_[i] = ranges ? *std::max_element(high.begin(), high.end()) : T(0);
    }
}

template <typename T>
void ArrayFeatures<T>::range(int i, T& low, T& high) const {
    low = low_[i];
    high = high_[i];
}

template <typename T>
void ArrayFeatures<T>::read(std::int64_t begin, std::int64_t count, T* out) const {
    order_.runs(begin, begin + count, [&](std::int64_t first, std::int64_t at, std::int64_t n) {
        for (int i = 0; i < dims_; ++i) {
            const T* f = features_ + i * points() + at;
            std::copy(f, f + n, out + i * kLatticeTile + (first - begin));
        }
    });
}

template class ArrayFeatures<float>;
template class ArrayFeatures<double>;

}  // namespace wsss_fast
