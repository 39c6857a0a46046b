// Finding the step tags in token ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace erprm {

// Positions of `tag` in `ids`, ascending. Blocks without a tag cost one vectorised comparison per token, so that the scan
// runs at the speed of memory when tags are rare, as they are.
template <class Id>
std::vector<std::int64_t> scan_tags(std::span<const Id> ids, Id tag) {
    constexpr std::size_t block = 64;
    std::vector<std::int64_t> positions;
    const auto scan = [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            if (ids[i] == tag) {
                positions.push_back(static_cast<std::int64_t>(i));
            }
        }
    };
    std::size_t begin = 0;
    for (; begin + block <= ids.size(); begin += block) {
        const Id* values = ids.data() + begin;
        Id found = 0;
        for (std::size_t i = 0; i < block; ++i) {
            found |= static_cast<Id>(values[i] == tag);
        }
        if (found != 0) {
            scan(begin, begin + block);
        }
    }
    scan(begin, ids.size());
    return positions;
}

}  // namespace erprm
