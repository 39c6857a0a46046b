// Rows of tokens into bins and into one flat batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace erprm {

// First fit, decreasing: rows by falling length (equal ones in their order), each into the first bin that has room.
// O(S log S) with a tree over the bins that holds the largest room below each node. Writes the bin of each row and
// returns how many bins there are: at most 11/9 of the least possible, plus one.
std::int32_t first_fit_decreasing(std::span<const std::int64_t> lengths, std::int64_t capacity, std::span<std::int32_t> bin_of_row);

// Rows of a flat dataset: row r has ids[row_offsets[r] .. row_offsets[r + 1]) and its tags, counted from the row's
// beginning, at tags[tag_offsets[r] .. tag_offsets[r + 1]).
struct Rows {
    std::span<const std::int64_t> ids, row_offsets, tags, tag_offsets;
};

struct Packed {
    std::vector<std::int64_t> input_ids, position_ids;  // [tokens]
    std::vector<std::int32_t> cu_seqlens;               // [chosen + 1]
    std::vector<std::int64_t> tag_positions;            // [tags]
};

// Reads only what belongs to the chosen rows, each value once and checked after it was read.
Packed pack_rows(const Rows& rows, std::span<const std::int64_t> chosen);

// Throws std::invalid_argument naming `name` unless offsets are 0, .., size without falling.
void check_offsets(const char* name, std::span<const std::int64_t> offsets, std::size_t size);

}  // namespace erprm
