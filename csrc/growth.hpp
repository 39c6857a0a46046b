// Growing vectors whose next push_back cannot fail, and how much they hold.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace erprm {

// Makes room for one more value.
template <class T>
void grow(std::vector<T>& values) {
    if (values.capacity() == values.size()) {
        values.reserve(std::max<std::size_t>(64, values.size() + values.size() / 2));
    }
}

template <class T>
std::int64_t bytes_of(const std::vector<T>& values) {
    return static_cast<std::int64_t>(values.capacity() * sizeof(T));
}

}  // namespace erprm
