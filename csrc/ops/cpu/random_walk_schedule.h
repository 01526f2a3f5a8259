#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/parallel.h"
#include "common/path_plan.h"
#include "common/scratch.h"
#include "ops/cpu/random_walk_image.h"

namespace wsss_fast {

// Images under way at once, and the workspace of the largest of them.
struct WalkSlots {
    std::int64_t count = 0;
    std::int64_t bytes = 0;

    std::int64_t total() const { return count * bytes; }
};

// For walks that are made from a batch and take their memory from an arena.
template <typename Walk, typename Params>
WalkSlots walk_slots(const PathPlan& plan, const Params& params) {
    WalkSlots slots;
    for (std::int64_t b = 0; b < params.batch_count; ++b) {
        const auto& batch = params.batches[b];
        if (batch.images == 0 || batch.maps == 0) continue;
        WalkArena counting(nullptr);
        Walk(plan, batch, counting, params.execution);
        slots.count += batch.images;
        slots.bytes = std::max(slots.bytes, counting.bytes());
    }
    slots.count = std::min<std::int64_t>(slots.count, std::max(params.execution.threads, 1));
    return slots;
}

// Calls walk(batch, image, memory) for every image that has maps. Images go to threads;
// threads that find no image left help with the rows of the others. Nothing is summed across
// images, so who does what changes no bit.
template <typename Params, typename Walk>
void for_each_walk(const Params& params, const WalkSlots& slots, Walk&& walk) {
    using Batch = std::remove_reference_t<decltype(params.batches[0])>;
    std::vector<std::pair<Batch*, std::int64_t>> images;
    for (std::int64_t b = 0; b < params.batch_count; ++b) {
        if (params.batches[b].maps == 0) continue;
        for (std::int64_t n = 0; n < params.batches[b].images; ++n) {
            images.emplace_back(&params.batches[b], n);
        }
    }
    struct Slot {
        std::int64_t number;
        explicit Slot(std::atomic<std::int64_t>* next) : number(next->fetch_add(1)) {}
    };
    std::atomic<std::int64_t> next{0};
    Scratch<Slot> lent;
    parallel_for(params.execution, static_cast<std::int64_t>(images.size()), 1,
                 [&](std::int64_t begin, std::int64_t end) {
                     const auto slot = lent.take(&next);
                     void* const memory =
                         static_cast<char*>(params.workspace) + slot->number * slots.bytes;
                     for (std::int64_t i = begin; i < end; ++i) {
                         const auto& [batch, image] = images[static_cast<std::size_t>(i)];
                         walk(*batch, image, memory);
                     }
                 });
}

}  // namespace wsss_fast
