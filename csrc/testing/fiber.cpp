#include "testing/fiber.h"

#include <sys/mman.h>

#include <new>

#include "testing/sanitizer.h"

namespace wsss_fast::testing {
namespace {

// Room for a kernel with the gaps that AddressSanitizer puts between its variables, and for the
// report that it prints from there.
constexpr std::size_t kStackBytes = 128 * 1024;

// Below it, a page or several that nobody may touch. AddressSanitizer does not see a stack that
// grows too far: the function that does it declares its frame to be in order.
constexpr std::size_t kForbiddenBytes = 64 * 1024;

thread_local Fiber* entered = nullptr;

}  // namespace

Stack::Stack() {
    void* const memory = mmap(nullptr, kForbiddenBytes + kStackBytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    bottom_ = static_cast<char*>(memory) + kForbiddenBytes;
    if (mprotect(memory, kForbiddenBytes, PROT_NONE) != 0) {
        munmap(memory, kForbiddenBytes + kStackBytes);
        throw std::bad_alloc();
    }
}

Stack::~Stack() {
    unpoison(bottom_, kStackBytes);  // the frames in it, before others get this memory
    munmap(bottom_ - kForbiddenBytes, kForbiddenBytes + kStackBytes);
}

std::size_t Stack::bytes() { return kStackBytes; }

Fiber::Fiber(Body body) : body_(body) {
    prepare_stack(inside_, stack_.bottom(), Stack::bytes(), &Fiber::enter);
}

void Fiber::resume() {
    entered = this;
    idle_ = false;
    void* fake_stack = nullptr;
    start_switch(&fake_stack, stack_.bottom(), Stack::bytes());
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
