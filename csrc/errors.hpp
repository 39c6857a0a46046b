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

// The first value of 0 .. below - 1 that is none, or the end. One pass without branches, so that compilers vectorise it;
// a negative value is a large one when its sign is dropped.
template <class T>
auto first_outside(std::span<const T> values, std::make_unsigned_t<T> below) {
    using Unsigned = std::make_unsigned_t<T>;
    bool inside = true;
    for (const T value : values) {
        inside &= static_cast<Unsigned>(value) < below;
    }
    return inside ? values.end() : std::ranges::find_if(values, [&](T value) { return static_cast<Unsigned>(value) >= below; });
}

}  // namespace erprm
