#include "testing/stack_switch.h"

#include <cstdint>
#include <cstring>

#if defined(__ELF__) && (defined(__x86_64__) || defined(__aarch64__))

// Saves what a function has to leave as it found it, exchanges the stack, takes up what was saved
// there.
extern "C" void wsss_fast_switch_stack(void** from, void* to);

#if defined(__x86_64__)
asm(R"(
    .text
    .globl wsss_fast_switch_stack
    .hidden wsss_fast_switch_stack
    .type wsss_fast_switch_stack, @function
wsss_fast_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size wsss_fast_switch_stack, . - wsss_fast_switch_stack
)");
#else
asm(R"(
    .text
    .globl wsss_fast_switch_stack
    .hidden wsss_fast_switch_stack
    .type wsss_fast_switch_stack, %function
wsss_fast_switch_stack:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size wsss_fast_switch_stack, . - wsss_fast_switch_stack
)");
#endif

namespace wsss_fast::testing {

void prepare_stack(StackPointer& stack, char* memory, std::size_t bytes, void (*function)()) {
    // Zeros in all registers: frame pointers end here.
    char* const top = memory + (bytes - reinterpret_cast<std::uintptr_t>(memory + bytes) % 16);
#if defined(__x86_64__)
    // From the top: an empty word, so that the stack is as after a call; where `ret` goes;
    // registers.
    constexpr std::size_t kSaved = 8 * 8;
    constexpr std::size_t kReturn = 6 * 8;
#else
    constexpr std::size_t kSaved = 160;
    constexpr std::size_t kReturn = 88;
#endif
    char* const pointer = top - kSaved;
    std::memset(pointer, 0, kSaved);
    std::memcpy(pointer + kReturn, &function, sizeof function);
    stack = pointer;
}

void switch_stack(StackPointer& from, StackPointer& to) { wsss_fast_switch_stack(&from, to); }

}  // namespace wsss_fast::testing

#else

namespace wsss_fast::testing {

void prepare_stack(StackPointer& stack, char* memory, std::size_t bytes, void (*function)()) {
    getcontext(&stack);
    stack.uc_stack.ss_sp = memory;
    stack.uc_stack.ss_size = bytes;
    makecontext(&stack, function, 0);
}

void switch_stack(StackPointer& from, StackPointer& to) { swapcontext(&from, &to); }

}  // namespace wsss_fast::testing

#endif
