#include "driver/report.h"

#include <cstdio>
#include <mutex>

namespace wsss_fast::driver {
namespace {

std::mutex mutex;
std::int64_t checked = 0;
std::int64_t failed = 0;
std::set<std::string> names;

}  // namespace

void expect(bool good, const std::string& what) {
    const std::lock_guard<std::mutex> lock(mutex);
    ++checked;
    if (good) return;
    ++failed;
    std::fprintf(stderr, "failed: %s\n", what.c_str());
}

std::int64_t checks() {
    const std::lock_guard<std::mutex> lock(mutex);
    return checked;
}

std::int64_t failures() {
    const std::lock_guard<std::mutex> lock(mutex);
    return failed;
}

void entered(const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex);
    names.insert(name);
}

std::set<std::string> all_entered() {
    const std::lock_guard<std::mutex> lock(mutex);
    return names;
}

}  // namespace wsss_fast::driver
