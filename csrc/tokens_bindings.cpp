// The functions of erprm._core: packing and prefix trees.
#include <string>
#include <utility>

#include "arrays.hpp"
#include "bindings.hpp"
#include "packing.hpp"
#include "prefix_tree.hpp"

namespace erprm {
namespace {

py::tuple fit(const py::object& lengths, std::int64_t capacity) {
    const auto values = values_of<std::int64_t>(lengths, "lengths");
    std::vector<std::int32_t> bin_of_row(values.size());
    std::int32_t bins = 0;
    {
        const py::gil_scoped_release release;
        bins = first_fit_decreasing(values, capacity, bin_of_row);
    }
    return py::make_tuple(to_array(std::move(bin_of_row)), bins);
}

// With the GIL: a batch is small, the data set that it is taken from is not and is read in place.
py::tuple pack(const py::object& ids, const py::object& row_offsets, const py::object& tags, const py::object& tag_offsets,
               const py::object& rows) {
    const auto span = [](const auto& array) { return std::span<const std::int64_t>(array.data(), static_cast<std::size_t>(array.size())); };
    const auto id_array = array_of<std::int64_t>(ids, "ids"), row_array = array_of<std::int64_t>(row_offsets, "row_offsets"),
               tag_array = array_of<std::int64_t>(tags, "tags"), tag_offset_array = array_of<std::int64_t>(tag_offsets, "tag_offsets");
    const auto chosen = values_of<std::int64_t>(rows, "rows");
    Packed packed = pack_rows({span(id_array), span(row_array), span(tag_array), span(tag_offset_array)}, chosen);
    return py::make_tuple(to_array(std::move(packed.input_ids)), to_array(std::move(packed.position_ids)),
                          to_array(std::move(packed.cu_seqlens)), to_array(std::move(packed.tag_positions)));
}

py::dict tree_of(const py::object& flat_ids, const py::object& row_offsets) {
    const auto ids = values_of<std::int64_t>(flat_ids, "flat_ids"), offsets = values_of<std::int64_t>(row_offsets, "row_offsets");
    PrefixTree tree;
    {
        const py::gil_scoped_release release;
        tree = prefix_tree(ids, offsets);
    }
    py::dict named;
    named["input_ids"] = to_array(std::move(tree.input_ids));
    named["position_ids"] = to_array(std::move(tree.position_ids));
    named["ends"] = to_array(std::move(tree.ends));
    named["token_of"] = to_array(std::move(tree.token_of));
    return named;
}

}  // namespace

void bind_tokens(py::module_& m) {
    m.def("first_fit_decreasing", &fit, py::arg("lengths"), py::arg("capacity"),
          R"(Rows into bins of `capacity` tokens: longest first, each into the first bin with room, in O(S log S).

Returns:
    (bin of each row int32 [S], number of bins): at most 11/9 of the least number of bins, plus one.

Raises:
    ValueError: for a row that no bin can hold.
)");
    m.def("pack_rows", &pack, py::arg("ids"), py::arg("row_offsets"), py::arg("tags"), py::arg("tag_offsets"), py::arg("rows"),
          R"(Chosen rows of a flat dataset as one padding-free batch.

Args:
    ids: int64 [all tokens], row r from row_offsets[r] to row_offsets[r + 1].
    row_offsets: int64 [rows of the dataset + 1].
    tags: int64 [all tags], counted from the beginning of their row; row r from tag_offsets[r] to tag_offsets[r+1].
    tag_offsets: int64 [rows of the dataset + 1].
    rows: int64 [S], the rows to pack, in this order.

Returns:
    (input_ids int64 [N], position_ids int64 [N], cu_seqlens int32 [S + 1], tag_positions int64 [M] in input_ids).

Raises:
    ValueError: for a row that there is none of, and for offsets or tags that lie outside of what they count.
)");
    m.def("prefix_tree", &tree_of, py::arg("flat_ids"), py::arg("row_offsets"),
          R"(The token rows of one problem as a tree, so that what rows share is computed once.

Tokens stand in depth-first order, rows by their ids in lexicographic order. Token i may see token j exactly when
`j <= i < ends[j]`, because a token's subtree is the contiguous span from itself to its end; a FlexAttention mask is
`(kv <= q) & (q < ends[kv])`. Trees set side by side with their ends moved along do not see each other.

Args:
    flat_ids: int64 [N], row r from row_offsets[r] to row_offsets[r + 1].
    row_offsets: int64 [S + 1].

Returns:
    input_ids, position_ids, ends: int64 [K], the distinct tokens; a position is the one in the separate row.
    token_of: int64 [N], where each token of each row stands: row r's tag at p is token_of[row_offsets[r] + p].
)");
}

}  // namespace erprm
