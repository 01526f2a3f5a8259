#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace wsss_fast {

// Scratch memory for the ranges of a parallel_for: a range takes a piece that an earlier one has
// left, so there are as many as run at once. Fresh memory for each range would cost more than what
// a short one does, in the system's work of handing it out.
template <typename Piece>
class Scratch {
    struct GiveBack {
        Scratch* owner;
        void operator()(Piece* piece) const { owner->give(piece); }
    };

  public:
    using Lease = std::unique_ptr<Piece, GiveBack>;

    // A piece as it was left, or one made from the arguments.
    template <typename... Arguments>
    Lease take(const Arguments&... arguments) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (!left_.empty()) {
                Piece* const piece = left_.back().release();
                left_.pop_back();
                return Lease(piece, GiveBack{this});
            }
            left_.reserve(++made_);  // so that give() cannot fail
        }
        return Lease(new Piece(arguments...), GiveBack{this});
    }

  private:
    void give(Piece* piece) {
        const std::lock_guard<std::mutex> lock(mutex_);
        left_.emplace_back(piece);
    }

    std::mutex mutex_;
    std::size_t made_ = 0;
    std::vector<std::unique_ptr<Piece>> left_;
};

}  // namespace wsss_fast
