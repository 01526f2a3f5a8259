// Preloaded: fails one allocation of one library. Allocations are counted in any thread, but only
// those that code between two addresses asks for; the k-th of them fails as if there was no memory.
#include <dlfcn.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::uintptr_t> from{0}, to{0};
std::atomic<long> seen{0}, fails{0};
std::atomic<bool> objects_too{false};

bool refused(void* caller) {
    const auto at = reinterpret_cast<std::uintptr_t>(caller);
    if (at < from.load() || at >= to.load()) return false;
    return ++seen == fails.load();
}

template <typename Function>
Function* next(const char* name) {
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

// Counts anew; fail 0 fails none. Without `objects` only aligned arrays count, not what `new`
// makes.
void fail_allocation(std::uintptr_t begin, std::uintptr_t end, long fail, bool objects) {
    objects_too = objects;
    from = begin;
    to = end;
    seen = 0;
    fails = fail;
}

long allocations_seen() { return seen.load(); }

void* aligned_alloc(std::size_t alignment, std::size_t size) {
    static auto* const real = next<void*(std::size_t, std::size_t)>("aligned_alloc");
    if (!refused(__builtin_return_address(0))) return real(alignment, size);
    errno = ENOMEM;
    return nullptr;
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
    static auto* const real = next<int(void**, std::size_t, std::size_t)>("posix_memalign");
    return refused(__builtin_return_address(0)) ? ENOMEM : real(memory, alignment, size);
}
}

void* operator new(std::size_t size) {
    static auto* const real = next<void*(std::size_t)>("_Znwm");
    if (objects_too && refused(__builtin_return_address(0))) throw std::bad_alloc();
    return real(size);
}
