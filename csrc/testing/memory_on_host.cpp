#include "testing/memory_on_host.h"

#include <cstddef>
#include <cstring>

#include "testing/sanitizer.h"

namespace wsss_fast::testing {

void mark_unset(void* memory, std::int64_t bytes) {
    if (bytes > 0) std::memset(memory, 0xFF, static_cast<std::size_t>(bytes));
}

void guard(void* memory, std::int64_t bytes) { poison(memory, static_cast<std::size_t>(bytes)); }

void unguard(void* memory, std::int64_t bytes) {
    unpoison(memory, static_cast<std::size_t>(bytes));
}

}  // namespace wsss_fast::testing
