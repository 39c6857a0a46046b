#include "prefix_tree.hpp"

#include <algorithm>
#include <numeric>

#include "packing.hpp"

namespace erprm {
namespace {

// A segment begins where a row begins or where its parent has more than one child; an only child follows its parent.
void find_segments(PrefixTree& tree) {
    const std::size_t size = tree.input_ids.size();
    std::vector<std::int64_t> children(size, 0);
    for (const std::int64_t parent : tree.parents) {
        if (parent >= 0) {
            children[static_cast<std::size_t>(parent)] += 1;
        }
    }
    std::vector<std::int64_t> segment_of(size);
    for (std::size_t token = 0; token < size; ++token) {
        const std::int64_t parent = tree.parents[token];
        if (parent < 0 || children[static_cast<std::size_t>(parent)] > 1) {
            tree.segment_starts.push_back(static_cast<std::int64_t>(token));
            tree.segment_parents.push_back(parent < 0 ? -1 : segment_of[static_cast<std::size_t>(parent)]);
        }
        segment_of[token] = static_cast<std::int64_t>(tree.segment_starts.size()) - 1;
    }
    tree.segment_starts.push_back(static_cast<std::int64_t>(size));
}

}  // namespace

PrefixTree prefix_tree(std::span<const std::int64_t> ids, std::span<const std::int64_t> row_offsets) {
    check_offsets("row_offsets", row_offsets, ids.size());
    const std::size_t count = row_offsets.size() - 1;
    const auto row = [&](std::size_t r) {
        return ids.subspan(static_cast<std::size_t>(row_offsets[r]), static_cast<std::size_t>(row_offsets[r + 1] - row_offsets[r]));
    };
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return std::ranges::lexicographical_compare(row(a), row(b));
    });

    // In that order a row shares with all rows before it just what it shares with the last one.
    PrefixTree tree;
    tree.token_of.resize(ids.size());
    std::vector<std::int64_t> path;  // the tokens of the last row
    std::span<const std::int64_t> last;
    const auto end_from = [&](std::size_t depth) {
        for (std::size_t at = depth; at < path.size(); ++at) {
            tree.ends[static_cast<std::size_t>(path[at])] = static_cast<std::int64_t>(tree.input_ids.size());
        }
        path.resize(depth);
    };
    for (const std::size_t r : order) {
        const auto current = row(r);
        const auto shared = static_cast<std::size_t>(std::ranges::mismatch(last, current).in2 - current.begin());
        end_from(shared);
        for (std::size_t depth = shared; depth < current.size(); ++depth) {
            tree.parents.push_back(depth == 0 ? -1 : path.back());
            path.push_back(static_cast<std::int64_t>(tree.input_ids.size()));
            tree.input_ids.push_back(current[depth]);
            tree.position_ids.push_back(static_cast<std::int64_t>(depth));
            tree.ends.push_back(0);
        }
        std::copy(path.begin(), path.end(), tree.token_of.begin() + row_offsets[r]);
        last = current;
    }
    end_from(0);
    find_segments(tree);
    return tree;
}

}  // namespace erprm
