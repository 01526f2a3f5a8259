#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/parallel.h"

namespace wsss_fast {

// Images under way at once, and the workspace of the largest of them.
struct WalkSlots {
    std::int64_t count = 0;
    std::int64_t bytes = 0;

    std::int64_t total() const { return count * bytes; }
};

// `bytes_of(batch)` is what an image of a batch needs.
template <typename Params, typename BytesOf>
WalkSlots walk_slots(const Params& params, BytesOf&& bytes_of) {
    WalkSlots slots;
    for (std::int64_t b = 0; b < params.batch_count; ++b) {
        const auto& batch = params.batches[b];
        if (batch.images == 0 || batch.maps == 0) continue;
        slots.count += batch.images;
        slots.bytes = std::max(slots.bytes, bytes_of(batch));
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
    std::vector<std::int64_t> idle;
    for (std::int64_t slot = 0; slot < slots.count; ++slot) idle.push_back(slot);
    std::mutex mutex;
    parallel_for(params.execution, static_cast<std::int64_t>(images.size()), 1,
                 [&](std::int64_t begin, std::int64_t end) {
                     std::int64_t slot = 0;
                     {
                         const std::lock_guard<std::mutex> lock(mutex);
                         slot = idle.back();
                         idle.pop_back();
                     }
                     for (std::int64_t i = begin; i < end; ++i) {
                         const auto& [batch, image] = images[static_cast<std::size_t>(i)];
                         walk(*batch, image,
                              static_cast<char*>(params.workspace) + slot * slots.bytes);
                     }
                     const std::lock_guard<std::mutex> lock(mutex);
                     idle.push_back(slot);
                 });
}

}  // namespace wsss_fast
