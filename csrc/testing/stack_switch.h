#pragma once

#include <cstddef>

#if !defined(__ELF__) || !(defined(__x86_64__) || defined(__aarch64__))
#include <ucontext.h>
#endif

namespace wsss_fast::testing {

#if defined(__ELF__) && (defined(__x86_64__) || defined(__aarch64__))

// Where a stack ends that nobody runs on; what its owner needs to go on lies there. ucontext does
// the same, but asks the kernel about signals each time.
using StackPointer = void*;

#else

using StackPointer = ucontext_t;

#endif

// Makes `stack` one on which function() starts when it is first switched to. The function never
// returns. In place: a ucontext_t has pointers into itself.
void prepare_stack(StackPointer& stack, char* memory, std::size_t bytes, void (*function)());

// Leaves the stack that runs now in `from` and goes on with `to`.
void switch_stack(StackPointer& from, StackPointer& to);

}  // namespace wsss_fast::testing
