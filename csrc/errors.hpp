// How the core refuses an argument: the bindings turn this into Python's ValueError.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace erprm {

[[noreturn]] inline void refuse(const std::string& argument, const std::string& expected, std::int64_t found) {
    throw std::invalid_argument(argument + ": expected " + expected + ", found " + std::to_string(found));
}

}  // namespace erprm
