#pragma once

#include <cstdint>
#include <vector>

#include "common/buffer.h"
#include "ops/lattice.h"

namespace wsss_fast {

// The neighbours of vertices along one axis on their way to chains.
class AxisChains {
  public:
    explicit AxisChains(std::int64_t rows);

    // `after` comes next behind `row`. Each row once at most on either side.
    void link(std::int32_t row, std::int32_t after) {
        after_[row] = after;
        is_after_[after] = 1;
    }

    // The chains as a lattice holds them.
    void cut(Buffer<std::int32_t>& chain, std::vector<LatticePiece>& pieces);

  private:
    Buffer<std::int32_t> after_;      // [rows] or -1
    Buffer<std::uint8_t> is_after_;   // [rows]
};

}  // namespace wsss_fast
