#include "ops/cpu/lattice_chains.h"

#include <algorithm>

#include "ops/cpu/lattice_isa.h"

namespace wsss_fast {
namespace {

constexpr std::int64_t kPieceEntries = 4096;

}  // namespace

AxisChains::AxisChains(std::int64_t rows) : after_(rows), is_after_(rows) {
    std::fill(after_.data(), after_.data() + rows, -1);
    std::fill(is_after_.data(), is_after_.data() + rows, std::uint8_t{0});
}

void AxisChains::cut(Buffer<std::int32_t>& chain, std::vector<LatticePiece>& pieces) {
    constexpr std::int32_t kLong = kLongestFixedChain + 1;  // stands for all longer ones
    const std::int64_t rows = after_.size();

    // Chain after chain in the order of their first rows; the last row of each as its complement.
    Buffer<std::int32_t> walk(rows);
    std::int64_t walked = 0;
    std::int64_t entries[kLong + 1] = {};  // by length
    for (std::int64_t row = 0; row < rows; ++row) {
        if (after_[row] < 0 || is_after_[row]) continue;
        const std::int64_t begin = walked;
        auto at = static_cast<std::int32_t>(row);
        for (; after_[at] >= 0; at = after_[at]) walk[walked++] = at;
        walk[walked++] = ~at;
        const std::int64_t length = walked - begin;
        entries[std::min<std::int64_t>(length, kLong)] +=
            length < kLong ? length : length + 1;  // a long one has its length before it
    }

    // Sorted by length.
    std::int64_t at[kLong + 1];
    std::int64_t size = 0;
    for (std::int32_t length = 2; length <= kLong; ++length) {
        at[length] = size;
        size += entries[length];
    }
    chain.resize(size);
    pieces.clear();
    for (std::int32_t length = 2; length < kLong; ++length) {
        const std::int64_t most = kPieceEntries / length;
        for (std::int64_t i = 0; i < entries[length] / length; i += most) {
            const std::int64_t count = std::min(most, entries[length] / length - i);
            pieces.push_back({at[length] + i * length, static_cast<std::int32_t>(count), length});
        }
    }
    std::int64_t in_piece = kPieceEntries;  // a long chain opens a piece
    for (std::int64_t begin = 0, end = 0; begin < walked; begin = end) {
        while (walk[end++] >= 0) {
        }
        const std::int64_t length = end - begin;
        std::int32_t* to = chain.data() + at[std::min<std::int64_t>(length, kLong)];
        if (length >= kLong) {
            if (in_piece >= kPieceEntries) {
                pieces.push_back({at[kLong], 0, 0});
                in_piece = 0;
            }
            ++pieces.back().chains;
            in_piece += length;
            *to++ = static_cast<std::int32_t>(length);
            ++at[kLong];
        }
        std::copy(walk.data() + begin, walk.data() + end, to);
        to[length - 1] = ~to[length - 1];
        at[std::min<std::int64_t>(length, kLong)] += length;
    }
}

}  // namespace wsss_fast
