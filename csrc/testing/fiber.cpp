#include "testing/fiber.h"

#include <cstddef>

#include "testing/sanitizer.h"

namespace wsss_fast::testing {
namespace {

// Room for a kernel with the gaps that AddressSanitizer puts between its variables, and for the
// report that it prints from there.
constexpr std::size_t kStackBytes = 128 * 1024;

thread_local Fiber* entered = nullptr;

}  // namespace

// The stack lies on the heap: what runs off its end is noticed there.
Fiber::Fiber(Body body)
    : body_(body),
      stack_(new char[kStackBytes]),
      inside_(fresh_stack(stack_.get(), kStackBytes, &Fiber::enter)) {}

void Fiber::resume() {
    entered = this;
    idle_ = false;
    void* fake_stack = nullptr;
    start_switch(&fake_stack, stack_.get(), kStackBytes);
    switch_stack(outside_, inside_);
    finish_switch(fake_stack, nullptr, nullptr);
}

void Fiber::pause() { leave(false); }

void Fiber::leave(bool for_good) {
    idle_ = for_good;
    start_switch(for_good ? nullptr : &fake_stack_, caller_stack_, caller_stack_bytes_);
    switch_stack(inside_, outside_);
    finish_switch(for_good ? nullptr : fake_stack_, &caller_stack_, &caller_stack_bytes_);
}

void Fiber::enter() {
    Fiber& fiber = *entered;
    finish_switch(nullptr, &fiber.caller_stack_, &fiber.caller_stack_bytes_);
    for (;;) {
        fiber.body_(fiber);
        fiber.leave(true);
    }
}

}  // namespace wsss_fast::testing
