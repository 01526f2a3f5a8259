#include "testing/threads_on_host.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "testing/fiber.h"
#include "testing/memory_on_host.h"

namespace wsss_fast::testing {
namespace {

constexpr int kLanes = 32;

std::string name_of(Meeting meeting, unsigned mask) {
    static const char* const kNames[] = {"__syncthreads",    "cluster_barrier", "grid_barrier",
                                         "__syncwarp",       "__shfl_sync",     "__shfl_up_sync",
                                         "__shfl_down_sync", "__shfl_xor_sync", "__ballot_sync",
                                         "__any_sync",       "__all_sync"};
    std::string name = kNames[static_cast<int>(meeting)];
    if (meeting >= Meeting::kSyncwarp) {
        char digits[32];
        std::snprintf(digits, sizeof digits, "(mask 0x%08x)", mask);
        name += digits;
    }
    return name;
}

// Which order launches take.
std::atomic<int> fixed_order{-1};  // none: in turn
std::atomic<std::uint32_t> first_seed{0};
std::atomic<std::uint32_t> launches{0};

// Orders of 0 .. count - 1, one after another.
class Orders {
  public:
    Orders(Order order, std::uint32_t seed) : order_(order), seed_(seed), random_(seed) {}

    void fill(std::vector<std::int64_t>& numbers, std::int64_t count) {
        numbers.resize(static_cast<std::size_t>(count));
        std::iota(numbers.begin(), numbers.end(), std::int64_t{0});
        if (order_ == Order::kReversed) std::reverse(numbers.begin(), numbers.end());
        if (order_ == Order::kShuffled) std::shuffle(numbers.begin(), numbers.end(), random_);
    }

    std::string name() const {
        if (order_ == Order::kForward) return "forward";
        if (order_ == Order::kReversed) return "reversed";
        return "shuffled by " + std::to_string(seed_);
    }

  private:
    Order order_;
    std::uint32_t seed_;
    std::mt19937 random_;
};

enum class State { kNotBegun, kReady, kRunning, kWaiting, kReturned };

struct Thread {
    std::int64_t block = 0;  // among those that run together
    int number = 0;          // in its block
    State state = State::kNotBegun;
    Fiber* fiber = nullptr;
    // What it waits for, and there gives and gets:
    Meeting meeting{};
    unsigned mask = 0;
    std::uint64_t value = 0;
    int source = 0;

    bool waits_in_block() const {
        return state == State::kWaiting && meeting == Meeting::kSyncthreads;
    }
    bool waits_beyond_block() const {
        return state == State::kWaiting &&
               (meeting == Meeting::kClusterBarrier || meeting == Meeting::kGridBarrier);
    }
    bool waits_in_warp() const { return state == State::kWaiting && meeting >= Meeting::kSyncwarp; }
};

struct FreeMemory {
    void operator()(void* memory) const { ::operator delete(memory); }
};

struct Block {
    int waiting = 0;  // at __syncthreads
    int waiting_beyond = 0;
    int returned = 0;
    std::map<const void*, std::unique_ptr<void, FreeMemory>> shared;
};

// Unwinds a thread that waits when another one has failed.
struct Abandoned {};

class Launch {
  public:
    Launch(const cuda::Shape& shape, const std::function<void()>& thread, Orders orders)
        : shape_(shape), thread_(thread), orders_(std::move(orders)) {
        if (shape.together == cuda::Together::kCluster) together_ = shape.cluster;
        if (shape.together == cuda::Together::kGrid) together_ = shape.blocks;
    }

    void run();
    void meet_all(Meeting meeting);
    std::uint64_t meet_lanes(Meeting meeting, unsigned mask, std::uint64_t value, int source);
    void* shared_memory(const void* key, std::size_t bytes);
    int lane() const { return current_->number % kLanes; }
    [[noreturn]] void fail(const std::string& what) const;

  private:
    static void work_on(Fiber& fiber);
    void work(Fiber& fiber);
    void run_together(std::int64_t first_block);
    bool run_each_once();
    void resume(Fiber& fiber);
    void enter(Thread& thread);
    void wait();
    void finish();
    void abandon();
    Block& block() { return blocks_[static_cast<std::size_t>(current_->block)]; }
    Thread* warp() { return current_ - lane(); }
    int warp_lanes() const {
        return std::min(kLanes, shape_.threads - (current_->number - lane()));
    }
    std::string name(const Thread& thread) const;
    template <typename What>
    void refuse_if_lane_waits(const What& what);

    const cuda::Shape shape_;
    const std::function<void()>& thread_;
    Orders orders_;
    std::int64_t together_ = 1;  // this many blocks

    // Of the blocks that run now:
    std::int64_t first_block_ = 0;
    std::vector<Block> blocks_;
    std::vector<Thread> threads_;
    std::vector<std::int64_t> order_;
    std::size_t next_ = 0;  // in order_
    std::int64_t waiting_beyond_ = 0;
    std::int64_t returned_ = 0;
    Thread* current_ = nullptr;
    std::exception_ptr error_;
};

thread_local Launch* running = nullptr;

// All that there are, and those that run nothing. Kept: a stack costs more than most kernels.
struct Fibers {
    std::vector<std::unique_ptr<Fiber>> all;
    std::vector<Fiber*> idle;
};
thread_local Fibers fibers;

void Launch::run() {
    blockDim = dim3(static_cast<unsigned>(shape_.threads));
    gridDim = dim3(static_cast<unsigned>(shape_.blocks));
    std::vector<std::int64_t> groups;
    orders_.fill(groups, shape_.blocks / together_);
    for (const std::int64_t group : groups) run_together(group * together_);
}

void Launch::run_together(std::int64_t first_block) {
    first_block_ = first_block;
    blocks_.clear();
    blocks_.resize(static_cast<std::size_t>(together_));
    threads_.assign(static_cast<std::size_t>(together_ * shape_.threads), Thread{});
    for (std::size_t i = 0; i < threads_.size(); ++i) {
        threads_[i].block = static_cast<std::int64_t>(i) / shape_.threads;
        threads_[i].number = static_cast<int>(static_cast<std::int64_t>(i) % shape_.threads);
    }
    waiting_beyond_ = returned_ = 0;
    while (!error_ && returned_ < static_cast<std::int64_t>(threads_.size())) {
        if (run_each_once()) continue;
        try {
            current_ = &*std::find_if(threads_.begin(), threads_.end(), [](const Thread& thread) {
                return thread.state == State::kWaiting;
            });
            fail("nobody can go on; " + name(*current_) + " waits at " +
                 name_of(current_->meeting, current_->mask));
        } catch (...) {
            error_ = std::current_exception();
        }
    }
    if (!error_) return;
    abandon();
    std::rethrow_exception(error_);
}

// Runs the threads that can run, each up to where it waits or returns. False: none could.
bool Launch::run_each_once() {
    bool moved = false;
    orders_.fill(order_, static_cast<std::int64_t>(threads_.size()));
    next_ = 0;
    while (next_ < order_.size() && !error_) {
        Thread& thread = threads_[static_cast<std::size_t>(order_[next_])];
        if (thread.state == State::kNotBegun) {
            if (fibers.idle.empty()) {
                fibers.all.push_back(std::make_unique<Fiber>(&Launch::work_on));
                fibers.idle.push_back(fibers.all.back().get());
            }
            Fiber* const fiber = fibers.idle.back();
            fibers.idle.pop_back();
            resume(*fiber);  // takes this thread, and those behind it if it can
            moved = true;
            continue;
        }
        ++next_;
        if (thread.state != State::kReady) continue;
        enter(thread);
        resume(*thread.fiber);
        moved = true;
    }
    return moved;
}

void Launch::resume(Fiber& fiber) {
    fiber.resume();
    if (fiber.idle()) fibers.idle.push_back(&fiber);
}

void Launch::work_on(Fiber& fiber) { running->work(fiber); }

// A thread that returned without waiting leaves its fiber to the next one: kernels without barriers
// cost no switches.
void Launch::work(Fiber& fiber) {
    const auto next = [&]() -> Thread* {
        if (error_ || next_ == order_.size()) return nullptr;
        Thread& thread = threads_[static_cast<std::size_t>(order_[next_])];
        if (thread.state != State::kNotBegun) return nullptr;
        ++next_;
        return &thread;
    };
    while (Thread* const thread = next()) {
        thread->fiber = &fiber;
        enter(*thread);
        try {
            thread_();
            finish();
        } catch (const Abandoned&) {
        } catch (...) {
            error_ = std::current_exception();
            current_->state = State::kReturned;
        }
    }
}

void Launch::enter(Thread& thread) {
    current_ = &thread;
    thread.state = State::kRunning;
    threadIdx.x = static_cast<unsigned>(thread.number);
    blockIdx.x = static_cast<unsigned>(first_block_ + thread.block);
}

void Launch::wait() {
    current_->fiber->pause();
    if (error_) throw Abandoned{};
}

// Throws in the threads that wait, so that their fibers are idle again.
void Launch::abandon() {
    for (Thread& thread : threads_) {
        if (thread.state != State::kWaiting && thread.state != State::kReady) continue;
        enter(thread);
        resume(*thread.fiber);
    }
}

std::string Launch::name(const Thread& thread) const {
    return "thread " + std::to_string(thread.number) + " of block " +
           std::to_string(first_block_ + thread.block);
}

void Launch::fail(const std::string& what) const {
    // How the rest of the block stands, where it has no more to tell than this line holds.
    std::map<std::string, int> counts;
    for (const Thread& thread : threads_) {
        if (thread.block != current_->block || &thread == current_) continue;
        const bool waits = thread.state == State::kWaiting;
        ++counts[waits ? "wait at " + name_of(thread.meeting, thread.mask)
                 : thread.state == State::kReturned ? "returned"
                                                    : "can run"];
    }
    std::string others;
    for (const auto& [state, count] : counts) {
        others += (others.empty() ? "" : ", ") + std::to_string(count) + " " + state;
    }
    throw std::runtime_error("kernel on the host: " + what + " (others of the block: " + others +
                             "; order: " + orders_.name() + ")");
}

// Lanes that wait for this one, which does something else: what() says it.
template <typename What>
void Launch::refuse_if_lane_waits(const What& what) {
    const unsigned bit = 1u << lane();
    for (const Thread* other = warp(); other != warp() + warp_lanes(); ++other) {
        if (other != current_ && other->waits_in_warp() && (other->mask & bit) != 0) {
            fail(name(*current_) + " " + what() + ", but " + name(*other) + " waits for it at " +
                 name_of(other->meeting, other->mask));
        }
    }
}

void Launch::meet_all(Meeting meeting) {
    const auto came = [&] { return "came to " + name_of(meeting, 0); };
    const bool in_block = meeting == Meeting::kSyncthreads;
    if ((meeting == Meeting::kGridBarrier && shape_.together != cuda::Together::kGrid) ||
        (meeting == Meeting::kClusterBarrier && shape_.together != cuda::Together::kCluster)) {
        fail(name(*current_) + " " + came() +
             ", for which the launch's Shape has no blocks together");
    }
    if (in_block ? block().returned > 0 : returned_ > 0) {
        fail(name(*current_) + " " + came() + ", but another that it waits for has returned");
    }
    if (in_block ? block().waiting_beyond > 0 : block().waiting > 0) {
        fail(name(*current_) + " " + came() + ", but others wait for it at another barrier");
    }
    refuse_if_lane_waits(came);

    current_->state = State::kWaiting;
    current_->meeting = meeting;
    current_->mask = 0;
    if (in_block) {
        if (++block().waiting == shape_.threads) {
            block().waiting = 0;
            Thread* const first = current_ - current_->number;
            for (Thread* t = first; t != first + shape_.threads; ++t) t->state = State::kReady;
        }
    } else {
        ++block().waiting_beyond;
        if (++waiting_beyond_ == static_cast<std::int64_t>(threads_.size())) {
            waiting_beyond_ = 0;
            for (Block& each : blocks_) each.waiting_beyond = 0;
            for (Thread& each : threads_) each.state = State::kReady;
        }
    }
    wait();
}

std::uint64_t Launch::meet_lanes(Meeting meeting, unsigned mask, std::uint64_t value, int source) {
    const auto came = [&] { return "came to " + name_of(meeting, mask); };
    if ((mask >> lane() & 1u) == 0) fail(name(*current_) + " " + came() + " without its own bit");
    if (warp_lanes() < kLanes && mask >> warp_lanes() != 0) {
        fail(name(*current_) + " " + came() + ", which names lanes that the block does not have");
    }
    const auto named = [mask](int lane) { return (mask >> lane & 1u) != 0; };
    bool all_here = true;
    for (int other_lane = 0; other_lane < warp_lanes(); ++other_lane) {
        const Thread& other = warp()[other_lane];
        if (&other == current_ || !named(other_lane)) continue;
        const bool waits_for_us = other.waits_in_block() || other.waits_beyond_block() ||
                                  (other.waits_in_warp() && (other.mask >> lane() & 1u) != 0);
        const bool same = other.waits_in_warp() && other.meeting == meeting && other.mask == mask;
        if (other.state == State::kReturned) {
            fail(name(*current_) + " " + came() + ", but " + name(other) + " has returned");
        }
        if (waits_for_us && !same) {
            fail(name(*current_) + " " + came() + ", but " + name(other) + " waits for it at " +
                 name_of(other.meeting, other.mask));
        }
        all_here = all_here && same;
    }

    current_->state = State::kWaiting;
    current_->meeting = meeting;
    current_->mask = mask;
    current_->value = value;
    current_->source = source;
    if (all_here) {
        std::uint64_t given[kLanes];
        unsigned votes = 0;
        for (int i = 0; i < warp_lanes(); ++i) {
            given[i] = warp()[i].value;
            if (named(i) && given[i] != 0) votes |= 1u << i;
        }
        for (int i = 0; i < warp_lanes(); ++i) {
            if (!named(i)) continue;
            Thread& each = warp()[i];
            each.state = State::kReady;
            each.value = meeting >= Meeting::kBallot ? votes
                         : named(each.source)        ? given[each.source]
                                                     : ~std::uint64_t{0};
        }
    }
    wait();
    return current_->value;
}

void Launch::finish() {
    if (block().waiting > 0 || waiting_beyond_ > 0) {
        fail(name(*current_) + " returned, but others wait for it at a barrier");
    }
    refuse_if_lane_waits([] { return "returned"; });
    current_->state = State::kReturned;
    ++block().returned;
    ++returned_;
}

// Memory of its own for each, so that AddressSanitizer has its guards around it.
void* Launch::shared_memory(const void* key, std::size_t bytes) {
    auto& memory = block().shared[key];
    if (!memory) {
        memory.reset(::operator new(bytes));
        mark_unset(memory.get(), static_cast<std::int64_t>(bytes));
    }
    return memory.get();
}

Launch& current_launch() {
    if (!running) throw std::logic_error("a kernel's function was called outside of a launch");
    return *running;
}

}  // namespace

void set_order(std::optional<Order> order, std::uint32_t seed) {
    fixed_order = order ? static_cast<int>(*order) : -1;
    first_seed = seed;
    launches = 0;
}

void run_launch(const cuda::Shape& shape, const std::function<void()>& thread) {
    if (running) throw std::logic_error("a kernel launched another");
    const std::uint32_t number = launches++;
    const int fixed = fixed_order;
    Launch launch(shape, thread,
                  Orders(static_cast<Order>(fixed >= 0 ? fixed : static_cast<int>(number % 3)),
                         first_seed + number));
    struct Running {
        explicit Running(Launch* launch) { running = launch; }
        ~Running() { running = nullptr; }
    } const while_it_lasts(&launch);
    launch.run();
}

void meet(Meeting meeting) { current_launch().meet_all(meeting); }

std::uint64_t meet_lanes(Meeting meeting, unsigned mask, std::uint64_t value, int source) {
    return current_launch().meet_lanes(meeting, mask, value, source);
}

Segment::Segment(int width) {
    if (width < 1 || width > kLanes || (width & (width - 1)) != 0) {
        current_launch().fail("a shuffle's width: expected 1, 2, 4, 8, 16 or 32, got " +
                              std::to_string(width));
    }
    lane = current_launch().lane();
    begin = lane & ~(width - 1);
}

void* shared_memory(const void* key, std::size_t bytes) {
    return current_launch().shared_memory(key, bytes);
}

}  // namespace wsss_fast::testing
