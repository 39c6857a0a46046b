// A 128-bit keyed digest of a text: what a prefix is interned by, so that its text need not be kept.
#pragma once

#include <cstdint>
#include <string_view>

namespace erprm {

struct Digest {
    std::uint64_t low = 0;
    std::uint64_t high = 0;

    friend bool operator==(const Digest&, const Digest&) = default;
};

// SipHash-1-3 with 128 bits of output (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
// Ten million prefixes collide with a probability of about 1.5e-25.
Digest digest(Digest key, std::string_view text);

}  // namespace erprm
