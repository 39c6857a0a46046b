// Digests of texts and of paths of texts: what a prefix is interned by, so that its text need not be kept.
//
// A text is cut into blocks of 128 bytes. A sum of products of a block's words plus key words (NH: Black, Halevi, Krawczyk,
// Krovetz and Rogaway, "UMAC", 1999) gives two coefficients of a polynomial over the field of 2^61 - 1 (Carter and Wegman,
// 1979); what texts give are the coefficients of another one, for paths. All this is done twice, with points of their own and
// key words shifted by two. Points and key words are drawn at random when the process starts. So two paths that were chosen
// without knowing them agree in each half with a probability of at most (2 B + D + 4) / 2^60, for B blocks and D steps of the
// longer one, and the halves are independent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace erprm {

struct Digest {  // below 2^61 - 1 each
    std::uint64_t first = 0;
    std::uint64_t second = 0;

    friend bool operator==(const Digest&, const Digest&) = default;
};

// Of a text of characters of `width` bytes (1, 2 or 4), which `bytes` holds. Texts of another width are other texts.
Digest digest(std::string_view bytes, unsigned width = 1);

// Of the path that goes on by a step from `parent`, a path of `depth` steps; one that ends there is another path.
Digest extended(const Digest& parent, const Digest& step, std::size_t depth, bool ends);

}  // namespace erprm
