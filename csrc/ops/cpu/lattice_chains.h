#pragma once

#include <cstdint>
#include <vector>

#include "common/buffer.h"
#include "ops/cpu/lattice_isa.h"
#include "ops/lattice.h"

namespace wsss_fast {

// Some chains: their rows, as far as a chain of fixed length goes, and their lengths; one more than
// that for all that are longer.
struct Walks {
    static constexpr std::int64_t kChains = 64;
    std::int32_t row[kChains][kLongestFixedChain];
    std::int32_t length[kChains];

    void walk(const std::int32_t* head, std::int64_t count, const std::int32_t* after,
              std::int32_t nothing);
};

// The neighbours of vertices along one axis on their way to chains.
class AxisChains {
  public:
    // Of those rows that are vertices.
    AxisChains(std::int64_t rows, const Buffer<std::int32_t>& vertices);

    // No links.
    void clear();

    // after[i], if not negative, comes next behind vertex first + i. Each once at most.
    void link(std::int64_t first, const std::int32_t* after, std::int64_t count);

    // The chains as a lattice holds them.
    void cut(const Execution& execution, Buffer<std::int32_t>& chain,
             std::vector<LatticePiece>& pieces);

  private:
    std::int64_t rows_;
    const Buffer<std::int32_t>& vertices_;
    // One more than rows: where there is nothing after a row, that one is, and after itself too.
    Buffer<std::int32_t> after_;
    Buffer<std::uint8_t> is_after_;
    Buffer<std::int32_t> head_;  // first rows of chains
    Buffer<Walks> walks_;
};

}  // namespace wsss_fast
