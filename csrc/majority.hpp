// Which answer has most votes, for many groups at once.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace erprm {

struct Majority {
    std::vector<std::int64_t> winners;  // [S] index of the winning answer's first candidate, -1 for a group without answers
    std::vector<double> votes;          // [S] its votes, 0 without
};

// Codes that are equal exactly where the texts are (to the collision chance of a 128-bit digest): the index of the first
// equal text; -1 where a text has no data, which stands for "no answer" ("" is an answer).
std::vector<std::int64_t> answer_codes(std::span<const std::string_view> answers);

// Codes below 0 do not vote. `weights` is empty for one vote each. Ties go to the answer that was given first.
Majority majority(std::span<const std::int64_t> codes, std::span<const std::int64_t> offsets, std::span<const double> weights);

}  // namespace erprm
