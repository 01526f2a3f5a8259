#include "common/path_plan.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <unordered_map>

#include "common/refuse.h"

namespace wsss_fast {
namespace {

constexpr int kLargestRadius = 64;

// A part costs work for every pixel as a piece does, and memory of the size of the map; it pays
// where it replaces at least so many pairs of pieces.
constexpr int kMostParts = 32;
constexpr int kPairsThatPay = 6;

PathPlan::Part joined(const PathPlan::Piece& one, const PathPlan::Piece& next) {
    return {one.part, next.part, {next.at.dy - one.at.dy, next.at.dx - one.at.dx}};
}

bool same(const PathPlan::Part& a, const PathPlan::Part& b) {
    return a.first == b.first && a.second == b.second && a.at.dy == b.at.dy && a.at.dx == b.at.dx;
}

std::uint64_t key(const PathPlan::Part& part) {
    const auto field = [](int value) { return static_cast<std::uint64_t>(value + (1 << 15)); };
    return field(part.first) << 48 | field(part.second) << 32 | field(part.at.dy) << 16 |
           field(part.at.dx);
}

}  // namespace

PathPlan::PathPlan(int radius) : paths_(radius) {
    starts_.push_back(0);
    for (std::size_t p = 0; p < paths_.size(); ++p) {
        for (const Offset* at = paths_.begin(p); at != paths_.end(p); ++at) {
            pieces_.push_back({0, *at});
        }
        starts_.push_back(pieces_.size());
    }
    // The commonest pair of consecutive pieces becomes a part, again and again.
    while (part_count() < kMostParts) {
        std::unordered_map<std::uint64_t, int> counts;
        Part best{};
        int most = 0;
        for (std::size_t p = 0; p < paths_.size(); ++p) {
            for (const Piece* piece = begin(p); piece + 1 < end(p); ++piece) {
                const Part part = joined(piece[0], piece[1]);
                const int count = ++counts[key(part)];
                if (count > most) {
                    most = count;
                    best = part;
                }
            }
        }
        if (most < kPairsThatPay) break;
        join(best);
    }
}

void PathPlan::join(const Part& part) {
    parts_.push_back(part);
    const int number = static_cast<int>(parts_.size());
    std::size_t kept = 0;
    std::size_t i = 0;
    for (std::size_t p = 0; p < paths_.size(); ++p) {
        const std::size_t stop = starts_[p + 1];
        while (i < stop) {
            if (i + 1 < stop && same(joined(pieces_[i], pieces_[i + 1]), part)) {
                pieces_[kept++] = {number, pieces_[i].at};
                i += 2;
            } else {
                pieces_[kept++] = pieces_[i++];
            }
        }
        starts_[p + 1] = kept;
    }
    pieces_.resize(kept);
}

const PathPlan& path_plan(int radius) {
    static std::atomic<const PathPlan*> plans[kLargestRadius + 1];
    if (radius < 2 || radius > kLargestRadius) {
        refuse("radius: expected 2 to ", kLargestRadius, ", got ", radius);
    }
    std::atomic<const PathPlan*>& kept = plans[radius];
    const PathPlan* plan = kept.load();
    if (plan) return *plan;
    // Never deleted: another thread may be at work with it while the process ends. No lock, which a
    // fork might find held.
    auto fresh = std::make_unique<PathPlan>(radius);
    if (kept.compare_exchange_strong(plan, fresh.get())) return *fresh.release();
    return *plan;
}

}  // namespace wsss_fast
