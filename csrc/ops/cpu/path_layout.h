#pragma once

#include <cstdint>
#include <vector>

#include "common/path_plan.h"
#include "ops/cpu/path_isa.h"

namespace wsss_fast {

// How the parts of a plan lie in memory: planes of `rows` rows of `stride` values, part 0, the map
// itself, first. Values and their gradients lie alike. The last entries of a plane, where the part
// would reach out of it, stay unset and are not read.
class PathLayout {
  public:
    PathLayout(const PathPlan& plan, std::int64_t rows, std::int64_t stride)
        : plane_(rows * stride), planes_(plan.part_count()) {
        const auto flat = [&](const Offset& at) { return at.dy * stride + at.dx; };
        starts_.push_back(0);
        for (std::size_t p = 0; p < plan.paths().size(); ++p) {
            for (const PathPlan::Piece* piece = plan.begin(p); piece != plan.end(p); ++piece) {
                shifts_.push_back(piece->part * plane_ + flat(piece->at));
            }
            starts_.push_back(shifts_.size());
        }
        std::vector<std::int64_t> sizes = {plane_};
        for (const PathPlan::Part& part : plan.parts()) {
            const std::int64_t size = sizes[static_cast<std::size_t>(part.second)] - flat(part.at);
            joins_.push_back(
                {part.first * plane_, part.second * plane_ + flat(part.at), size > 0 ? size : 0});
            sizes.push_back(joins_.back().size);
        }
    }

    std::int64_t plane() const { return plane_; }
    std::int64_t size() const { return planes_ * plane_; }

    PathPieces operator[](std::int64_t p) const {
        const std::size_t* const start = starts_.data() + p;
        return {shifts_.data() + start[0], static_cast<int>(start[1] - start[0])};
    }

    // All parts from part 0.
    template <typename T>
    void join(const PathLoops<T>& loops, T* planes) const {
        T* whole = planes;
        for (const Join& join : joins_) {
            whole += plane_;
            loops.join(planes + join.first, planes + join.second, join.size, whole);
        }
    }

    // The gradient of part 0 from those of all parts, which are added to one another.
    template <typename T>
    void split(const PathLoops<T>& loops, const T* planes, T* grads) const {
        std::int64_t whole = size();
        for (auto join = joins_.rbegin(); join != joins_.rend(); ++join) {
            whole -= plane_;
            loops.split(planes + join->first, planes + whole, grads + whole, join->size,
                        grads + join->first, grads + join->second);
        }
    }

  private:
    struct Join {
        std::int64_t first;
        std::int64_t second;
        std::int64_t size;
    };

    std::int64_t plane_;
    std::int64_t planes_;
    std::vector<std::int64_t> shifts_;
    std::vector<std::size_t> starts_;
    std::vector<Join> joins_;
};

}  // namespace wsss_fast
