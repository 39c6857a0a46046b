// Rows that begin alike as one tree of tokens, so that what they share is computed once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace erprm {

// K distinct tokens in depth-first order (rows in lexicographic order of their ids).
// Token i sees token j exactly when j <= i < ends[j]: a token's subtree is the contiguous span from itself to its end.
struct PrefixTree {
    std::vector<std::int64_t> input_ids;        // [K]
    std::vector<std::int64_t> position_ids;     // [K] depth, the position in every row that holds the token
    std::vector<std::int64_t> ends;             // [K]
    std::vector<std::int64_t> token_of;         // [N] where each token of each row stands
};

PrefixTree prefix_tree(std::span<const std::int64_t> ids, std::span<const std::int64_t> row_offsets);

}  // namespace erprm
