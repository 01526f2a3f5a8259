// Resampling is linear, so inputs of one size are added before it, at their own small resolution.
// What remains is resampled row by row: a source row is stretched along x once and kept while the
// output rows between it and the next are blended from the two, all sizes into one output row.
#include "ops/cam_fusion.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>

#include "common/bilinear.h"
#include "common/buffer.h"
#include "common/column_table.h"
#include "common/scratch.h"
#include "ops/cpu/cam_fusion_isa.h"

namespace wsss_fast {
namespace {

// Inputs of one size, added into one map.
struct SizeGroup {
    std::int64_t height;
    std::int64_t width;
    std::int64_t offset;                 // of the group's map within a wanted map's workspace
    std::vector<std::size_t> members{};  // which inputs
};

struct Groups {
    std::vector<SizeGroup> list;
    std::int64_t map_elements = 0;  // workspace of one wanted map
};

template <typename T>
Groups group_by_size(const std::vector<CamInput<T>>& inputs) {
    Groups groups;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        const auto same = [&](const SizeGroup& g) {
            return g.height == inputs[i].height && g.width == inputs[i].width;
        };
        auto found = std::find_if(groups.list.begin(), groups.list.end(), same);
        if (found == groups.list.end()) {
            groups.list.push_back({inputs[i].height, inputs[i].width, groups.map_elements});
            groups.map_elements += inputs[i].height * inputs[i].width;
            found = std::prev(groups.list.end());
        }
        found->members.push_back(i);
    }
    return groups;
}

// Below this many multiply-adds the threads cost more than they bring.
constexpr std::int64_t kSerialBelow = 1 << 15;
// Output pixels of a tile: enough rows to share stretched source rows, few enough for the cache.
constexpr std::int64_t kTilePixels = 1 << 15;

Execution execution_for(const Execution& execution, std::int64_t work) {
    return work < kSerialBelow ? Execution{1, execution.cancel} : execution;
}

// ---- adding inputs of one size ----------------------------------------------------------------

// Fills the workspace: every wanted map, one sum a size. False if a value is not within the limit.
template <typename T>
bool add_inputs(const CamFusionParams<T>& params, const Groups& groups, T limit) {
    const auto wanted = static_cast<std::int64_t>(params.maps.size());
    const CamLoops<T>& loops = cam_loops<T>();
    std::int64_t work = 0;  // of one map
    for (const CamInput<T>& input : params.inputs) work += input.height * input.width;
    const std::int64_t grain = std::max<std::int64_t>(1, kSerialBelow / work);
    std::atomic<bool> good{true};
    const auto add_map = [&](std::int64_t m) {
        bool fine = true;
        for (const SizeGroup& group : groups.list) {
            const std::int64_t pixels = group.height * group.width;
            T* sums = params.workspace + m * groups.map_elements + group.offset;
            for (std::size_t i : group.members) {
                const CamInput<T>& input = params.inputs[i];
                const T* map = input.data + params.maps[static_cast<std::size_t>(m)] * pixels;
                const CamAdding how{input.flipped, params.relu == CamRelu::kEach,
                                    i == group.members.front()};
                // What is not turned round is one long row.
                const std::int64_t width = input.flipped ? group.width : pixels;
                for (std::int64_t at = 0; at < pixels; at += width) {
                    fine &= loops.add(map + at, width, how, limit, sums + at);
                }
            }
        }
        if (!fine) good.store(false, std::memory_order_relaxed);
    };
    parallel_for(execution_for(params.execution, wanted * work), wanted, grain,
                 [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t m = begin; m < end; ++m) add_map(m);
                 });
    // The loops that stretch a row read on behind the last one.
    std::fill_n(params.workspace + wanted * groups.map_elements, kRowSlack, T(0));
    return good.load();
}

template <typename T>
FiniteResult find_bad(const CamFusionParams<T>& params, T limit) {
    for (std::size_t i = 0; i < params.inputs.size(); ++i) {
        const CamInput<T>& input = params.inputs[i];
        const std::int64_t pixels = input.height * input.width;
        for (std::int64_t map : params.maps) {
            const T* values = input.data + map * pixels;
            const std::int64_t at = first_outside(values, pixels, -limit, limit);
            if (at >= 0) {
                return BadValue{static_cast<std::int64_t>(i), map * pixels + at,
                                static_cast<double>(values[at])};
            }
        }
    }
    return {};
}

// ---- resampling and adding sizes ---------------------------------------------------------------

// The two stretched source rows of one size that the current output row lies between.
template <typename T>
class RowPair {
  public:
    // `memory` holds two stretched rows and, for a steep axis, one row of picked samples.
    RowPair(const T* map, std::int64_t width, const BilinearAxis<T>& rows,
            const ColumnTable<T>& columns, T* memory)
        : map_(map),
          width_(width),
          rows_(rows),
          columns_(columns),
          low_(memory),
          high_(memory + columns.padded()),
          picked_(memory + 2 * columns.padded()) {}

    static std::int64_t elements(const ColumnTable<T>& columns) {
        return 2 * columns.padded() + columns.picked_elements();
    }

    CamRows<T> seek(std::int64_t y) {
        const auto at = static_cast<std::size_t>(y);
        const std::int64_t low = rows_.low[at];
        const std::int64_t high = rows_.high[at];
        if (low != low_row_ && low == high_row_) {
            std::swap(low_, high_);
            std::swap(low_row_, high_row_);
        }
        if (low != low_row_) {
            stretch(low, low_);
            low_row_ = low;
        }
        if (high != low && high != high_row_) {
            stretch(high, high_);
            high_row_ = high;
        }
        return {low_, high == low ? low_ : high_, rows_.weight[at]};
    }

  private:
    void stretch(std::int64_t row, T* out) const {
        const T* source = map_ + row * width_;
        if (!columns_.picked().empty()) {
            columns_.pick(source, width_, picked_);
            source = picked_;
        }
        cam_loops<T>().stretch(source, columns_.columns(), columns_.padded(), out);
    }

    const T* map_;
    std::int64_t width_;
    const BilinearAxis<T>& rows_;
    const ColumnTable<T>& columns_;
    T* low_;
    T* high_;
    T* picked_;
    std::int64_t low_row_ = -1;
    std::int64_t high_row_ = -1;
};

// A target with its tables and the place of its tiles in the list of all of them.
template <typename T>
struct Plan {
    const CamTarget<T>* target;
    std::vector<BilinearAxis<T>> rows{};    // one a size group
    std::vector<ColumnTable<T>> columns{};  // one a size group
    std::int64_t tile_rows = 0;
    std::int64_t tiles = 0;       // of one map
    std::int64_t first_tile = 0;  // in the list of all tiles
};

template <typename T>
class Fusion {
  public:
    Fusion(const CamFusionParams<T>& params, const Groups& groups)
        : params_(params), groups_(groups), wanted_(static_cast<std::int64_t>(params.maps.size())) {
        for (const CamTarget<T>& target : params.targets) {
            Plan<T> plan{&target};
            for (const SizeGroup& group : groups.list) {
                plan.rows.push_back(
                    bilinear_axis<T>(group.height, target.height, target.crop_height, false));
                plan.columns.emplace_back(
                    bilinear_axis<T>(group.width, target.width, target.crop_width, false));
            }
            plan.tile_rows = std::max<std::int64_t>(1, kTilePixels / target.crop_width);
            plan.tiles = (target.crop_height + plan.tile_rows - 1) / plan.tile_rows;
            plan.first_tile = tiles_;
            tiles_ += plan.tiles * wanted_;
            work_ += target.crop_height * target.crop_width * wanted_;
            plans_.push_back(std::move(plan));
        }
        for (std::size_t n = 0; n + 1 < params.image_begin.size(); ++n) {
            const auto maps = params.image_begin[n + 1] - params.image_begin[n];
            image_of_.insert(image_of_.end(), static_cast<std::size_t>(maps), n);
        }
        tile_max_.resize(static_cast<std::size_t>(tiles_));
    }

    void sum() {
        const auto sizes = static_cast<std::int64_t>(groups_.list.size());
        Scratch<Rows> scratch;
        parallel_for(execution_for(params_.execution, work_ * sizes), tiles_, 1,
                     [&](std::int64_t begin, std::int64_t end) {
                         const auto rows = scratch.take();
                         for (std::int64_t i = begin; i < end; ++i) sum_tile(i, *rows);
                     });
    }

    void normalize() {
        std::vector<T> divisors;  // for each plan and map
        for (const Plan<T>& plan : plans_) append_divisors(plan, divisors);
        parallel_for(execution_for(params_.execution, work_), tiles_, 1,
                     [&](std::int64_t begin, std::int64_t end) {
                         for (std::int64_t i = begin; i < end; ++i) divide_tile(i, divisors);
                     });
    }

  private:
    struct Tile {
        std::size_t plan;
        std::int64_t map;
        std::int64_t begin;  // rows
        std::int64_t end;
        T* output;  // the whole map
    };

    Tile tile(std::int64_t index) const {
        std::size_t p = plans_.size() - 1;
        while (plans_[p].first_tile > index) --p;
        const Plan<T>& plan = plans_[p];
        const CamTarget<T>& target = *plan.target;
        const std::int64_t map = (index - plan.first_tile) / plan.tiles;
        const std::int64_t begin = (index - plan.first_tile) % plan.tiles * plan.tile_rows;
        const std::size_t image = image_of_[static_cast<std::size_t>(map)];
        T* output = target.outputs[image] +
                    (map - params_.image_begin[image]) * target.crop_height * target.crop_width;
        return {p, map, begin, std::min(begin + plan.tile_rows, target.crop_height), output};
    }

    // The scratch memory of one thread.
    struct Rows {
        Buffer<T> memory;
        std::vector<RowPair<T>> pairs;
        std::vector<CamRows<T>> current;
    };

    void sum_tile(std::int64_t index, Rows& rows) {
        const Tile at = tile(index);
        const Plan<T>& plan = plans_[at.plan];
        const std::size_t sizes = groups_.list.size();
        std::int64_t elements = 0;
        for (const ColumnTable<T>& columns : plan.columns)
            elements += RowPair<T>::elements(columns);
        rows.memory.resize(elements);
        rows.pairs.clear();
        rows.current.resize(sizes);
        T* memory = rows.memory.data();
        for (std::size_t g = 0; g < sizes; ++g) {
            const SizeGroup& group = groups_.list[g];
            const T* map = params_.workspace + at.map * groups_.map_elements + group.offset;
            rows.pairs.emplace_back(map, group.width, plan.rows[g], plan.columns[g], memory);
            memory += RowPair<T>::elements(plan.columns[g]);
        }
        const std::int64_t width = plan.target->crop_width;
        std::array<T, kColumnGroup> most;
        most.fill(-std::numeric_limits<T>::infinity());
        for (std::int64_t y = at.begin; y < at.end; ++y) {
            for (std::size_t g = 0; g < sizes; ++g) rows.current[g] = rows.pairs[g].seek(y);
            loops_.blend(rows.current.data(), static_cast<std::int64_t>(sizes), width,
                         params_.relu == CamRelu::kSum, at.output + y * width, most.data());
        }
        tile_max_[static_cast<std::size_t>(index)] = *std::max_element(most.begin(), most.end());
    }

    void append_divisors(const Plan<T>& plan, std::vector<T>& divisors) const {
        const std::size_t start = divisors.size();
        for (std::int64_t m = 0; m < wanted_; ++m) {
            const auto first = tile_max_.begin() + plan.first_tile + m * plan.tiles;
            divisors.push_back(*std::max_element(first, first + plan.tiles));
        }
        if (params_.normalize == CamNormalize::kImage) {
            for (std::size_t n = 0; n + 1 < params_.image_begin.size(); ++n) {
                const auto begin = divisors.begin() + static_cast<std::ptrdiff_t>(start);
                const auto first = begin + params_.image_begin[n];
                const auto last = begin + params_.image_begin[n + 1];
                if (first != last) std::fill(first, last, *std::max_element(first, last));
            }
        }
        // A map without a positive value is divided by 1e-5 alone: by its own negative maximum, its
        // order would turn over.
        for (std::size_t i = start; i < divisors.size(); ++i) {
            divisors[i] = std::max(divisors[i], T(0)) + T(1e-5);
        }
    }

    void divide_tile(std::int64_t index, const std::vector<T>& divisors) const {
        const Tile at = tile(index);
        const std::int64_t width = plans_[at.plan].target->crop_width;
        const T divisor = divisors[at.plan * static_cast<std::size_t>(wanted_) +
                                   static_cast<std::size_t>(at.map)];
        loops_.divide((at.end - at.begin) * width, divisor, at.output + at.begin * width);
    }

    const CamFusionParams<T>& params_;
    const Groups& groups_;
    const CamLoops<T>& loops_ = cam_loops<T>();
    std::int64_t wanted_;
    std::int64_t tiles_ = 0;
    std::int64_t work_ = 0;  // output pixels
    std::vector<Plan<T>> plans_;
    std::vector<std::size_t> image_of_;  // of a wanted map
    std::vector<T> tile_max_;
};

}  // namespace

template <typename T>
std::int64_t cam_fusion_workspace_bytes(const CamFusionParams<T>& params) {
    const auto wanted = static_cast<std::int64_t>(params.maps.size());
    return (group_by_size(params.inputs).map_elements * wanted + kRowSlack) *
           static_cast<std::int64_t>(sizeof(T));
}

template <typename T>
FiniteResult cam_fusion(const CamFusionParams<T>& params) {
    if (params.maps.empty()) return {};
    const Groups groups = group_by_size(params.inputs);
    // Values up to here cannot leave the range in the sum.
    const T limit = std::numeric_limits<T>::max() / static_cast<T>(params.inputs.size() + 1);
    if (!add_inputs(params, groups, limit)) return find_bad(params, limit);
    Fusion<T> fusion(params, groups);
    fusion.sum();
    if (params.normalize != CamNormalize::kNone) fusion.normalize();
    return {};
}

template std::int64_t cam_fusion_workspace_bytes(const CamFusionParams<float>&);
template std::int64_t cam_fusion_workspace_bytes(const CamFusionParams<double>&);
template FiniteResult cam_fusion(const CamFusionParams<float>&);
template FiniteResult cam_fusion(const CamFusionParams<double>&);

}  // namespace wsss_fast
