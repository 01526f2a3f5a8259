#pragma once

#include <cstdint>
#include <set>
#include <string>

// What the driver found. Called from any thread.
namespace wsss_fast::driver {

// Counts a check; one that failed is printed.
void expect(bool good, const std::string& what);

std::int64_t checks();
std::int64_t failures();

// That a function which Python binds was called, by its name there.
void entered(const std::string& name);
std::set<std::string> all_entered();

}  // namespace wsss_fast::driver
