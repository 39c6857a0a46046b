#include "prefix_tree.hpp"

#include <algorithm>
#include <numeric>

#include "packing.hpp"

namespace erprm {

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
            path.push_back(static_cast<std::int64_t>(tree.input_ids.size()));
            tree.input_ids.push_back(current[depth]);
            tree.position_ids.push_back(static_cast<std::int64_t>(depth));
            tree.ends.push_back(0);
        }
        std::copy(path.begin(), path.end(), tree.token_of.begin() + row_offsets[r]);
        last = current;
    }
    end_from(0);
    return tree;
}

}  // namespace erprm
