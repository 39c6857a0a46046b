#include "packing.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <string>

#include "errors.hpp"

namespace erprm {
namespace {

std::span<const std::int64_t> segment(std::span<const std::int64_t> values, std::span<const std::int64_t> offsets, std::int64_t row) {
    const auto r = static_cast<std::size_t>(row);
    return values.subspan(static_cast<std::size_t>(offsets[r]), static_cast<std::size_t>(offsets[r + 1] - offsets[r]));
}

}  // namespace

void segment_offsets(std::span<const std::int64_t> lengths, std::span<std::int64_t> sums) {
    sums[0] = 0;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        if (lengths[i] < 0 || lengths[i] > INT64_MAX - sums[i]) {
            refuse("lengths", "lengths from 0 on whose sum fits int64", lengths[i]);
        }
        sums[i + 1] = sums[i] + lengths[i];
    }
}

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

PackedSize packed_size(const Rows& rows, std::span<const std::int64_t> chosen) {
    check_offsets("row_offsets", rows.row_offsets, rows.ids.size());
    check_offsets("tag_offsets", rows.tag_offsets, rows.tags.size());
    if (rows.tag_offsets.size() != rows.row_offsets.size()) {
        refuse("tag_offsets", "as many values as row_offsets (" + std::to_string(rows.row_offsets.size()) + ")",
               static_cast<std::int64_t>(rows.tag_offsets.size()));
    }
    const auto count = static_cast<std::int64_t>(rows.row_offsets.size()) - 1;
    PackedSize size{0, 0};
    for (const std::int64_t row : chosen) {
        if (row < 0 || row >= count) {
            refuse("rows", "a row below " + std::to_string(count), row);
        }
        const auto length = static_cast<std::int64_t>(segment(rows.ids, rows.row_offsets, row).size());
        const auto tags = segment(rows.tags, rows.tag_offsets, row);
        for (const std::int64_t tag : tags) {
            if (tag < 0 || tag >= length) {
                refuse("tags", "a position below " + std::to_string(length) + " in row " + std::to_string(row), tag);
            }
        }
        size.tokens += length;
        size.tags += static_cast<std::int64_t>(tags.size());
    }
    if (size.tokens > INT32_MAX) {
        refuse("rows", "at most 2147483647 tokens in a batch", size.tokens);
    }
    return size;
}

void pack_rows(const Rows& rows, std::span<const std::int64_t> chosen, const Packed& packed) {
    std::size_t token = 0;
    std::size_t tag = 0;
    packed.cu_seqlens[0] = 0;
    for (std::size_t i = 0; i < chosen.size(); ++i) {
        const auto ids = segment(rows.ids, rows.row_offsets, chosen[i]);
        std::copy(ids.begin(), ids.end(), packed.input_ids.begin() + static_cast<std::ptrdiff_t>(token));
        const auto positions = packed.position_ids.subspan(token, ids.size());
        std::iota(positions.begin(), positions.end(), 0);
        for (const std::int64_t position : segment(rows.tags, rows.tag_offsets, chosen[i])) {
            packed.tag_positions[tag++] = static_cast<std::int64_t>(token) + position;
        }
        token += ids.size();
        packed.cu_seqlens[i + 1] = static_cast<std::int32_t>(token);
    }
}

}  // namespace erprm
