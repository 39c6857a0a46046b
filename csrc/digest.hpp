// Digests of texts and of paths of texts: what a prefix is interned by, so that its text need not be kept.
//
// A text is cut into blocks of 128 bytes. Two sums of products of a block's words plus key words (NH, shifted by two words
// between them: Black, Halevi, Krawczyk, Krovetz and Rogaway, "UMAC", 1999) are the coefficients of a polynomial over the
// field of 2^127 - 1 (Carter and Wegman, 1979); the digests of a path's steps are those of another one. Key words and points
// are drawn at random when the process starts. So two paths that were chosen without knowing them have equal digests with
// a probability of at most (B + D + 1) / 2^122, for B blocks and D steps of the longer one.
#pragma once

#include <cstdint>
#include <string_view>

namespace erprm {

struct Digest {  // low + 2^64 high, below 2^127 - 1
    std::uint64_t low = 0;
    std::uint64_t high = 0;

    friend bool operator==(const Digest&, const Digest&) = default;
};

// Of a text of characters of `width` bytes (1, 2 or 4), which `bytes` holds. Texts of another width are other texts.
Digest digest(std::string_view bytes, unsigned width = 1);

// Of the path that goes on from `parent` by a step; one that ends there is another path.
Digest extended(const Digest& parent, const Digest& step, bool ends);

}  // namespace erprm
