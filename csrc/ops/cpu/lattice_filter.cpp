#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/refuse.h"
#include "ops/cpu/lattice_isa.h"
#include "ops/cpu/lattice_values.h"
#include "ops/lattice.h"

namespace wsss_fast {
namespace {

constexpr std::int64_t kChannelsAtOnce = kWidestRow;

}  // namespace

template <typename T>
void lattice_filter(const LatticeFilterParams<T>& params) {
    const LatticeView<T>& lattice = params.lattice;
    const std::int64_t points = lattice.points;
    const LatticeLoops<T>& loops = lattice_loops<T>();
    LatticeValues<T> work;
    std::vector<std::int64_t> bad(static_cast<std::size_t>(lattice.bands()));
    // With these no sum overflows: splatting adds up all points at most, each blur doubles.
    const T most = std::ldexp(std::numeric_limits<T>::max(), -(lattice.dims + 1)) /
                   static_cast<T>(std::max(points, std::int64_t{1}));
    for (std::int64_t first = 0; first < params.channels; first += kChannelsAtOnce) {
        const std::int64_t channels = std::min(kChannelsAtOnce, params.channels - first);
        const std::vector<ChannelBlock> blocks = channel_blocks(static_cast<int>(channels));
        const int width = blocks[0].width;
        work.prepare(lattice, blocks);
        const T* values = params.values + first * points;
        T* out = params.out + first * points;

        std::fill(bad.begin(), bad.end(), -1);
        for_each_band(params.execution, points, [&](const LatticeBand& band) {
            // Padding is zero and stays so.
            std::vector<T> planes(static_cast<std::size_t>(kLatticeTile * width), T(0));
            std::vector<T> rows(planes.size());
            for (std::int64_t tile = band.begin; tile < band.end; ++tile) {
                const std::int64_t begin = tile * kLatticeTile;
                const std::int64_t count = std::min(kLatticeTile, points - begin);
                for (std::int64_t c = 0; c < channels; ++c) {
                    const T* from = values + c * points + begin;
                    T* to = planes.data() + c * kLatticeTile;
                    bool good = true;
                    for (std::int64_t p = 0; p < count; ++p) {
                        to[p] = from[p];
                        good &= std::abs(from[p]) <= most;
                    }
                    std::int64_t& first_bad = bad[static_cast<std::size_t>(band.index)];
                    if (!good && first_bad < 0) first_bad = c * points + begin;
                }
                loops.to_rows(planes.data(), width, rows.data());
                work.splat(tile, rows.data(), nullptr);
            }
        });
        if (params.check) {
            for (std::int64_t at : bad) {
                if (at < 0) continue;
                while (std::abs(values[at]) <= most) ++at;
                const char* const small =
                    std::isfinite(values[at]) ? " small enough for a finite sum" : "";
                refuse("values: expected finite values", small, ", got ", values[at],
                       " in channel ", first + at / points, " of point ", at % points);
            }
        }

        work.blur(params.order, params.execution);

        for_each_band(params.execution, points, [&](const LatticeBand& band) {
            std::vector<T> planes(static_cast<std::size_t>(kLatticeTile * width), T(0));
            std::vector<T> rows(planes.size(), T(0));
            for (std::int64_t tile = band.begin; tile < band.end; ++tile) {
                const std::int64_t begin = tile * kLatticeTile;
                const std::int64_t count = std::min(kLatticeTile, points - begin);
                work.slice(tile, work.gain(), nullptr, LatticeValues<T>::Slice::kSet, rows.data());
                loops.to_planes(rows.data(), width, false, planes.data());
                for (std::int64_t c = 0; c < channels; ++c) {
                    const T* from = planes.data() + c * kLatticeTile;
                    std::copy(from, from + count, out + c * points + begin);
                }
            }
        });
    }
}

template void lattice_filter(const LatticeFilterParams<float>&);
template void lattice_filter(const LatticeFilterParams<double>&);

}  // namespace wsss_fast
