// What a prefix is known by, so that its text need not be kept: BLAKE2b (RFC 7693) of 16 bytes over the prefix before it and
// its last step. Two prefixes are never taken for one another: 10^10 of them share a key with a probability below 2^-62.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace erprm {

struct Key {
    std::uint64_t first = 0;
    std::uint64_t second = 0;

    friend bool operator==(const Key&, const Key&) = default;
};

struct KeyHash {
    std::size_t operator()(const Key& key) const noexcept { return key.first; }
};

// BLAKE2b with digests of 16 bytes, of the parts one behind the other.
Key blake2b(std::initializer_list<std::string_view> parts);

// A problem, by the text that names it.
Key problem_key(std::string_view name);

// The prefix that goes on from `parent` by a step; a solution that ends there is another prefix.
Key step_key(const Key& parent, std::string_view step, bool ends);

}  // namespace erprm
