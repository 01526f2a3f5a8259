#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define WSSS_FAST_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WSSS_FAST_ADDRESS_SANITIZER
#endif
#endif

#if defined(WSSS_FAST_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// What we tell AddressSanitizer, where it is there.
namespace wsss_fast::testing {

inline void poison([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(WSSS_FAST_ADDRESS_SANITIZER)
    __asan_poison_memory_region(memory, bytes);
#endif
}

inline void unpoison([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(WSSS_FAST_ADDRESS_SANITIZER)
    __asan_unpoison_memory_region(memory, bytes);
#endif
}

// Around a change of stacks: before it, on the old one, and after it, on the new one.
inline void start_switch([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* bottom,
                         [[maybe_unused]] std::size_t bytes) {
#if defined(WSSS_FAST_ADDRESS_SANITIZER)
    __sanitizer_start_switch_fiber(fake_stack, bottom, bytes);
#endif
}

inline void finish_switch([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** bottom,
                          [[maybe_unused]] std::size_t* bytes) {
#if defined(WSSS_FAST_ADDRESS_SANITIZER)
    __sanitizer_finish_switch_fiber(fake_stack, bottom, bytes);
#endif
}

}  // namespace wsss_fast::testing
