#pragma once

#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace wsss_fast {
namespace detail {

inline std::string text(const char* value) { return value; }
inline std::string text(const std::string& value) { return value; }

// Integers in full, other numbers with six digits.
template <typename Number, typename = std::enable_if_t<std::is_arithmetic_v<Number>>>
std::string text(Number value) {
    if constexpr (std::is_integral_v<Number>) {
        return std::to_string(value);
    } else {
        if (std::isnan(value)) return "nan";  // without the sign that printf may give it
        char digits[32];
        std::snprintf(digits, sizeof digits, "%g", static_cast<double>(value));
        return digits;
    }
}

}  // namespace detail

// Throws std::invalid_argument with the parts one after another as its message. Not by way of an
// iostream: those share state between all libraries of a process that bring a C++ runtime, and in
// one with another torch than we test with, every message that went through one ended the process.
template <typename... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
    throw std::invalid_argument((detail::text(parts) + ...));
}

}  // namespace wsss_fast
