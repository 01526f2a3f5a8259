#pragma once

#include <cstdint>

namespace wsss_fast::cuda {

constexpr int kThreads = 256;  // of a block, where nothing speaks for another number

// Whose threads may meet at a barrier, and so have to run at the same time.
enum class Together { kBlock, kCluster, kGrid };

struct Shape {
    std::int64_t blocks;
    int threads = kThreads;                // of each block
    Together together = Together::kBlock;  // kGrid: no more blocks than the device holds at once
    int cluster = 1;                       // kCluster: how many blocks one has, at most 8
    std::int64_t shared_bytes = 0;         // of each block's block_shared_array, at most 48 KB
};

// As many blocks as it takes for a thread each.
inline Shape for_each(std::int64_t count) { return {(count + kThreads - 1) / kThreads}; }

}  // namespace wsss_fast::cuda
