// How the core refuses an argument: the bindings turn this into Python's ValueError.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace erprm {

[[noreturn]] inline void refuse(const std::string& argument, const std::string& expected, std::int64_t found) {
    throw std::invalid_argument(argument + ": expected " + expected + ", found " + std::to_string(found));
}

inline void check_lengths(const char* name, const std::string& like, std::size_t expected, std::size_t found) {
    if (expected != found) {
        refuse(name, "as many values as " + like + " (" + std::to_string(expected) + ")", static_cast<std::int64_t>(found));
    }
}

// Refuses the first value that is not in 0 .. below - 1, for below >= 1. One pass without branches: a value outside, or what
// is left of `below - 1` after taking it off, is negative.
template <class T>
void check_within(const char* name, std::span<const T> values, std::int64_t below, const char* expected = nullptr) {
    const auto last = static_cast<T>(below - 1);
    T signs = 0;
    for (const T value : values) {
        signs |= value | static_cast<T>(static_cast<std::make_unsigned_t<T>>(last) - static_cast<std::make_unsigned_t<T>>(value));
    }
    if (signs < 0) {
        const T bad = *std::ranges::find_if(values, [&](T value) { return value < 0 || value > last; });
        refuse(name, expected != nullptr ? expected : "0 to " + std::to_string(last), bad);
    }
}

}  // namespace erprm
