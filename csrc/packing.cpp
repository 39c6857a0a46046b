#include "packing.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <string>

#include "errors.hpp"

namespace erprm {
namespace {

// Values offsets[row] .. offsets[row + 1], for 0 <= row < offsets.size() - 1.
std::span<const std::int64_t> segment(const char* name, std::span<const std::int64_t> values, std::span<const std::int64_t> offsets,
                                      std::int64_t row) {
    const std::int64_t begin = offsets[static_cast<std::size_t>(row)];
    const std::int64_t end = offsets[static_cast<std::size_t>(row) + 1];
    const auto size = static_cast<std::int64_t>(values.size());
    if (begin < 0 || begin > end || end > size) {
        refuse(name, "offsets that do not fall, of 0 to " + std::to_string(size), end > size || end < begin ? end : begin);
    }
    return values.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
}

}  // namespace

std::int32_t first_fit_decreasing(std::span<const std::int64_t> lengths, std::int64_t capacity, std::span<std::int32_t> bin_of_row) {
    if (capacity < 1) {
        refuse("capacity", "at least 1", capacity);
    }
    if (lengths.size() > static_cast<std::size_t>(INT32_MAX)) {
        refuse("lengths", "at most 2147483647 rows", static_cast<std::int64_t>(lengths.size()));
    }
    for (const std::int64_t length : lengths) {
        if (length < 0 || length > capacity) {
            refuse("lengths", "lengths of 0 to the capacity of " + std::to_string(capacity), length);
        }
    }
    std::vector<std::int32_t> order(lengths.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        return lengths[static_cast<std::size_t>(a)] > lengths[static_cast<std::size_t>(b)];
    });
    const std::size_t leaves = std::bit_ceil(std::max<std::size_t>(lengths.size(), 1));
    std::vector<std::int64_t> room(2 * leaves, capacity);  // room[1] is the top, room[leaves + b] is bin b
    std::int32_t bins = 0;
    for (const std::int32_t row : order) {
        const std::int64_t length = lengths[static_cast<std::size_t>(row)];
        std::size_t at = 1;
        while (at < leaves) {
            at = room[2 * at] >= length ? 2 * at : 2 * at + 1;
        }
        const auto bin = static_cast<std::int32_t>(at - leaves);
        bin_of_row[static_cast<std::size_t>(row)] = bin;
        bins = std::max(bins, bin + 1);
        room[at] -= length;
        while (at > 1) {
            at /= 2;
            room[at] = std::max(room[2 * at], room[2 * at + 1]);
        }
    }
    return bins;
}

void check_offsets(const char* name, std::span<const std::int64_t> offsets, std::size_t size) {
    if (offsets.empty() || offsets.front() != 0) {
        refuse(name, "a first value of 0", offsets.empty() ? -1 : offsets.front());
    }
    for (std::size_t i = 1; i < offsets.size(); ++i) {
        if (offsets[i] < offsets[i - 1]) {
            refuse(name, "values that do not fall (at least " + std::to_string(offsets[i - 1]) + ")", offsets[i]);
        }
    }
    if (offsets.back() != static_cast<std::int64_t>(size)) {
        refuse(name, "the number of values (" + std::to_string(size) + ") at the end", offsets.back());
    }
}

Packed pack_rows(const Rows& rows, std::span<const std::int64_t> chosen) {
    check_lengths("tag_offsets", "row_offsets", rows.row_offsets.size(), rows.tag_offsets.size());
    const auto count = static_cast<std::int64_t>(rows.row_offsets.size()) - 1;
    Packed packed;
    packed.cu_seqlens.reserve(chosen.size() + 1);
    packed.cu_seqlens.push_back(0);
    for (const std::int64_t row : chosen) {
        if (row < 0 || row >= count) {
            refuse("rows", "a row below " + std::to_string(count), row);
        }
        const auto ids = segment("row_offsets", rows.ids, rows.row_offsets, row);
        const auto tags = segment("tag_offsets", rows.tags, rows.tag_offsets, row);
        const auto before = static_cast<std::int64_t>(packed.input_ids.size());
        const auto length = static_cast<std::int64_t>(ids.size());
        if (before + length > INT32_MAX) {
            refuse("rows", "at most 2147483647 tokens in a batch", before + length);
        }
        packed.input_ids.insert(packed.input_ids.end(), ids.begin(), ids.end());
        packed.position_ids.resize(packed.input_ids.size());
        std::iota(packed.position_ids.end() - length, packed.position_ids.end(), 0);
        packed.cu_seqlens.push_back(static_cast<std::int32_t>(before + length));
        for (const std::int64_t position : tags) {
            if (position < 0 || position >= length) {
                refuse("tags", "a position below " + std::to_string(length) + " in row " + std::to_string(row), position);
            }
            packed.tag_positions.push_back(before + position);
        }
    }
    return packed;
}

}  // namespace erprm
