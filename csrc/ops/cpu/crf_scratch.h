#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/buffer.h"
#include "ops/cpu/lattice_values.h"
#include "ops/lattice.h"

namespace wsss_fast {

// One pairwise term while an image is worked on.
template <typename T>
struct CrfTerm {
    Lattice<T> lattice;
    LatticeValues<T> values;
    Buffer<T> norm;
    const T* before = nullptr;  // [points] factors of what is splatted, or null
    const T* after = nullptr;   // [points] factors of what is sliced, or null
};

// The large arrays of a call. They are kept for the next one, as most of the time that fresh memory
// costs is the system's: one call of a process at a time finds them there, others make their own.
template <typename T>
struct CrfScratch {
    std::vector<CrfTerm<T>> terms;
    Buffer<T> energies;  // [tiles][channels][points of the tile] -unary
    Buffer<T> total;     // [tiles][kTile] the messages of all classes, summed up

    std::int64_t bytes() const {
        std::int64_t sum = energies.bytes() + total.bytes();
        for (const CrfTerm<T>& term : terms)
            sum += term.lattice.bytes() + term.values.bytes() + term.norm.bytes();
        return sum;
    }
};

template <typename T>
class KeptCrfScratch {
  public:
    KeptCrfScratch() : scratch_(kept_.exchange(nullptr)) {
        if (!scratch_) scratch_ = std::make_unique<CrfScratch<T>>();
    }
    ~KeptCrfScratch() {
        if (scratch_->bytes() <= kMostBytes) scratch_.reset(kept_.exchange(scratch_.release()));
    }
    KeptCrfScratch(const KeptCrfScratch&) = delete;
    KeptCrfScratch& operator=(const KeptCrfScratch&) = delete;

    CrfScratch<T>& operator*() { return *scratch_; }

  private:
    static constexpr std::int64_t kMostBytes = std::int64_t{256} << 20;
    // Never deleted: a thread may be in a call while the process ends.
    static inline std::atomic<CrfScratch<T>*> kept_{nullptr};

    std::unique_ptr<CrfScratch<T>> scratch_;
};

}  // namespace wsss_fast
