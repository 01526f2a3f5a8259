#include "ops/cpu/lattice_chains.h"

#include <algorithm>
#include <cstring>

#include "ops/cpu/lattice_isa.h"

namespace wsss_fast {
namespace {

constexpr std::int32_t kFixed = kLongestFixedChain;
constexpr std::int64_t kPieceEntries = 4096;
constexpr std::int64_t kBlock = Walks::kChains;

}  // namespace

// Step by step, all chains at once: the loads of a step do not wait for each other, and no branch
// depends on a length.
void Walks::walk(const std::int32_t* head, std::int64_t count, const std::int32_t* after,
                 std::int32_t nothing) {
    std::int32_t at[kChains];
    for (std::int64_t i = 0; i < count; ++i) {
        at[i] = head[i];
        row[i][0] = head[i];
        length[i] = 1;
    }
    for (std::int32_t step = 1; step <= kFixed; ++step) {
        for (std::int64_t i = 0; i < count; ++i) {
            at[i] = after[at[i]];
            if (step < kFixed) row[i][step] = at[i];
            length[i] += at[i] != nothing ? 1 : 0;
        }
    }
}

AxisChains::AxisChains(std::int64_t rows, const Buffer<std::int32_t>& vertices)
    : rows_(rows),
      vertices_(vertices),
      after_(rows + 1),
      is_after_(rows + 1),
      head_(vertices.size() + 1) {
    after_[rows] = static_cast<std::int32_t>(rows);
}

void AxisChains::clear() {
    std::fill(is_after_.data(), is_after_.data() + rows_ + 1, std::uint8_t{0});
}

void AxisChains::link(std::int64_t first, const std::int32_t* after, std::int64_t count) {
    const auto nothing = static_cast<std::int32_t>(rows_);
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int32_t next = after[i] >= 0 ? after[i] : nothing;
        after_[vertices_[first + i]] = next;
        is_after_[next] = 1;
    }
}

void AxisChains::cut(const Execution& execution, Buffer<std::int32_t>& chain,
                     std::vector<LatticePiece>& pieces) {
    const auto nothing = static_cast<std::int32_t>(rows_);
    constexpr std::int32_t kLong = kFixed + 1;

    std::int64_t heads = 0;
    for (std::int64_t i = 0; i < vertices_.size(); ++i) {
        stop_if_cancelled(execution, i);
        const std::int32_t row = vertices_[i];
        head_[heads] = row;
        const int has_after = after_[row] != nothing ? 1 : 0;
        heads += has_after & (1 - is_after_[row]);
    }

    // How many chains of each length, and how many rows the long ones have.
    std::int64_t chains[kLong + 1] = {};
    std::int64_t long_rows = 0;
    walks_.resize((heads + kBlock - 1) / kBlock);
    for (std::int64_t begin = 0; begin < heads; begin += kBlock) {
        stop_if_cancelled(execution, begin);
        const std::int64_t count = std::min(kBlock, heads - begin);
        Walks& walks = walks_[begin / kBlock];
        walks.walk(head_.data() + begin, count, after_.data(), nothing);
        for (std::int64_t i = 0; i < count; ++i) {
            ++chains[walks.length[i]];
            if (walks.length[i] < kLong) continue;
            for (std::int32_t at = head_[begin + i]; at != nothing; at = after_[at]) ++long_rows;
        }
    }

    // Sorted by length, with room behind each length for what a copy of fixed size writes too much.
    std::int64_t at[kLong + 1] = {};
    std::int64_t size = 0;
    pieces.clear();
    for (std::int32_t length = 2; length < kLong; ++length) {
        at[length] = size;
        const std::int64_t most = kPieceEntries / length;
        for (std::int64_t i = 0; i < chains[length]; i += most) {
            const std::int64_t count = std::min(most, chains[length] - i);
            pieces.push_back({size + i * length, static_cast<std::int32_t>(count), length});
        }
        size += chains[length] * length + kFixed;
    }
    at[kLong] = size;
    chain.resize(size + long_rows + chains[kLong] + kChainSlack);
    std::fill(chain.data() + chain.size() - kChainSlack, chain.data() + chain.size(), 0);

    std::int64_t in_piece = kPieceEntries;  // a long chain opens a piece
    for (std::int64_t begin = 0; begin < heads; begin += kBlock) {
        stop_if_cancelled(execution, begin);
        const std::int64_t count = std::min(kBlock, heads - begin);
        const Walks& walks = walks_[begin / kBlock];
        for (std::int64_t i = 0; i < count; ++i) {
            const std::int32_t length = walks.length[i];
            if (length < kLong) {
                std::memcpy(chain.data() + at[length], walks.row[i], sizeof walks.row[i]);
                at[length] += length;
                continue;
            }
            if (in_piece >= kPieceEntries) {
                pieces.push_back({at[kLong], 0, 0});
                in_piece = 0;
            }
            ++pieces.back().chains;
            const std::int64_t start = at[kLong]++;
            for (std::int32_t row = head_[begin + i]; row != nothing; row = after_[row])
                chain[at[kLong]++] = row;
            chain[start] = static_cast<std::int32_t>(at[kLong] - start - 1);
            in_piece += chain[start];
        }
    }
    // What was written too much is nobody's, but a packed lattice is compared byte by byte.
    for (std::int32_t length = 2; length < kLong; ++length)
        std::fill(chain.data() + at[length], chain.data() + at[length] + kFixed, 0);
}

}  // namespace wsss_fast
