#pragma once

#include <cstdint>

namespace wsss_fast::testing {

// Ones in all bits: NaN as a number, -1 as an integer.
void mark_unset(void* memory, std::int64_t bytes);

// Whoever touches this memory from here on is stopped by AddressSanitizer, until unguard().
void guard(void* memory, std::int64_t bytes);
void unguard(void* memory, std::int64_t bytes);

}  // namespace wsss_fast::testing
