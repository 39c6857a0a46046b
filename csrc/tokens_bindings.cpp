// The functions of erprm._core: tags, packing, majority and prefix trees. The work is done without the GIL.
#include <optional>
#include <string_view>

#include "arrays.hpp"
#include "bindings.hpp"
#include "majority.hpp"
#include "packing.hpp"
#include "prefix_tree.hpp"
#include "tags.hpp"

namespace erprm {
namespace {

template <class Id>
py::array_t<std::int64_t> scan(const py::object& ids, std::int64_t tag) {
    const Values<Id> values(ids, "ids");
    std::vector<std::int64_t> positions;
    if (std::in_range<Id>(tag)) {  // a tag that no id can equal is nowhere
        const py::gil_scoped_release release;
        positions = scan_tags(values.span(), static_cast<Id>(tag));
    }
    return to_array(std::move(positions));
}

py::array_t<std::int64_t> scan_any(const py::object& ids, std::int64_t tag_id) {
    return py::isinstance<py::array_t<std::int32_t>>(ids) ? scan<std::int32_t>(ids, tag_id) : scan<std::int64_t>(ids, tag_id);
}

py::array_t<std::int64_t> offsets_of(const py::object& lengths) {
    const Values<std::int64_t> values(lengths, "lengths");
    auto [array, sums] = new_array<std::int64_t>(values.size() + 1);
    segment_offsets(values.span(), sums);
    return array;
}

py::tuple fit(const py::object& lengths, std::int64_t capacity) {
    const Values<std::int64_t> values(lengths, "lengths");
    auto [array, bin_of_row] = new_array<std::int32_t>(values.size());
    std::int32_t bins = 0;
    {
        const py::gil_scoped_release release;
        bins = first_fit_decreasing(values.span(), capacity, bin_of_row);
    }
    return py::make_tuple(array, bins);
}

py::tuple pack(const py::object& ids, const py::object& row_offsets, const py::object& tags, const py::object& tag_offsets,
               const py::object& rows) {
    const Values<std::int64_t> id_values(ids, "ids"), row_values(row_offsets, "row_offsets"), tag_values(tags, "tags"),
        tag_offset_values(tag_offsets, "tag_offsets"), chosen(rows, "rows");
    const Rows source{id_values.span(), row_values.span(), tag_values.span(), tag_offset_values.span()};
    const PackedSize size = packed_size(source, chosen.span());
    auto [input_array, input_ids] = new_array<std::int64_t>(static_cast<std::size_t>(size.tokens));
    auto [position_array, position_ids] = new_array<std::int64_t>(static_cast<std::size_t>(size.tokens));
    auto [length_array, cu_seqlens] = new_array<std::int32_t>(chosen.size() + 1);
    auto [tag_array, tag_positions] = new_array<std::int64_t>(static_cast<std::size_t>(size.tags));
    const Packed packed{input_ids, position_ids, cu_seqlens, tag_positions};
    {
        const py::gil_scoped_release release;
        pack_rows(source, chosen.span(), packed);
    }
    return py::make_tuple(input_array, position_array, length_array, tag_array);
}

// Texts or None as codes; an array of integers as it is.
std::vector<std::int64_t> codes_of(const py::object& answers) {
    if (py::isinstance<py::array>(answers)) {
        const Values<std::int64_t> values(answers, "answers");
        return {values.span().begin(), values.span().end()};
    }
    const py::list items(answers);  // holds what the views point to
    std::vector<std::string_view> texts;
    texts.reserve(items.size());
    for (const py::handle answer : items) {
        if (answer.is_none()) {
            texts.emplace_back();
            continue;
        }
        if (!PyUnicode_Check(answer.ptr())) {
            throw py::type_error("answers: expected texts or None, found " + std::string(py::str(py::type::of(answer).attr("__name__"))));
        }
        Py_ssize_t size = 0;
        const char* data = PyUnicode_AsUTF8AndSize(answer.ptr(), &size);
        if (data == nullptr) {
            throw py::error_already_set();
        }
        texts.emplace_back(data, static_cast<std::size_t>(size));
    }
    return answer_codes(texts);
}

py::tuple vote(const py::object& answers, const py::object& offsets, const py::object& weights) {
    const std::vector<std::int64_t> codes = codes_of(answers);
    const Values<std::int64_t> groups(offsets, "offsets");
    std::optional<Values<double>> numbers;
    if (!weights.is_none()) {
        numbers.emplace(weights, "weights");
        if (numbers->size() != codes.size()) {
            throw py::value_error("weights: expected as many values as answers (" + std::to_string(codes.size()) + "), found " +
                                  std::to_string(numbers->size()));
        }
    }
    Majority result;
    {
        const py::gil_scoped_release release;
        result = majority(codes, groups.span(), numbers ? numbers->span() : std::span<const double>());
    }
    return py::make_tuple(to_array(std::move(result.winners)), to_array(std::move(result.votes)));
}

py::dict tree_of(const py::object& flat_ids, const py::object& row_offsets) {
    const Values<std::int64_t> ids(flat_ids, "flat_ids"), offsets(row_offsets, "row_offsets");
    PrefixTree tree;
    {
        const py::gil_scoped_release release;
        tree = prefix_tree(ids.span(), offsets.span());
    }
    py::dict named;
    named["input_ids"] = to_array(std::move(tree.input_ids));
    named["position_ids"] = to_array(std::move(tree.position_ids));
    named["ends"] = to_array(std::move(tree.ends));
    named["parents"] = to_array(std::move(tree.parents));
    named["token_of"] = to_array(std::move(tree.token_of));
    named["segment_starts"] = to_array(std::move(tree.segment_starts));
    named["segment_parents"] = to_array(std::move(tree.segment_parents));
    return named;
}

}  // namespace

void bind_tokens(py::module_& m) {
    m.def("scan_tags", &scan_any, py::arg("ids"), py::arg("tag_id"));
    m.def("segment_offsets", &offsets_of, py::arg("lengths"));
    m.def("first_fit_decreasing", &fit, py::arg("lengths"), py::arg("capacity"));
    m.def("pack_rows", &pack, py::arg("ids"), py::arg("row_offsets"), py::arg("tags"), py::arg("tag_offsets"), py::arg("rows"));
    m.def("majority", &vote, py::arg("answers"), py::arg("offsets"), py::arg("weights") = py::none());
    m.def("prefix_tree", &tree_of, py::arg("flat_ids"), py::arg("row_offsets"));
}

}  // namespace erprm
