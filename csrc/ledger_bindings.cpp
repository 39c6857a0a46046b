// erprm._core.Ledger. Arguments are read with the GIL, the work is done without it; no lock is held while waiting for it.
#include "bindings.hpp"

#include <pybind11/stl.h>

#include <optional>
#include <string_view>

#include "arrays.hpp"
#include "ledger.hpp"

namespace erprm {
namespace {

// The texts of a list, with references to them, so that they stay while the GIL is away.
struct Texts {
    std::vector<py::object> owners;
    std::vector<std::string_view> views;

    void add(const py::handle& text) {
        Py_ssize_t size = 0;
        if (!PyUnicode_Check(text.ptr())) {
            throw py::type_error("steps: expected texts, found " + type_name(text));
        }
        const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
        if (data == nullptr) {
            throw py::error_already_set();
        }
        owners.push_back(py::reinterpret_borrow<py::object>(text));
        views.emplace_back(data, static_cast<std::size_t>(size));
    }

    // A list or tuple, or what can be made one; a text is not meant as the sequence of its characters.
    void add_all(const py::handle& texts) {
        if (PyUnicode_Check(texts.ptr()) || !PySequence_Check(texts.ptr())) {
            throw py::type_error("steps: expected a list of texts, found " + type_name(texts));
        }
        const auto items = py::reinterpret_steal<py::object>(PySequence_Fast(texts.ptr(), "steps: expected a list of texts"));
        if (!items) {
            throw py::error_already_set();
        }
        const Py_ssize_t count = PySequence_Fast_GET_SIZE(items.ptr());
        for (Py_ssize_t i = 0; i < count; ++i) {
            add(PySequence_Fast_GET_ITEM(items.ptr(), i));
        }
    }
};

bool is_number(const py::object& value) { return PyIndex_Check(value.ptr()) != 0 && !py::isinstance<py::array>(value); }

// One number stands for the same number for each of `size` nodes.
template <class T>
std::vector<T> broadcast(const py::object& value, std::size_t size, const char* name) {
    if (is_number(value)) {
        py::list one;
        one.append(value);
        return std::vector<T>(size, Values<T>(one, name).span()[0]);
    }
    const Values<T> values(value, name);
    return {values.span().begin(), values.span().end()};
}

py::array_t<std::int64_t> add_solution(Ledger& ledger, std::int64_t root, const py::sequence& steps, int outcome, bool finished,
                                       bool count_outcome) {
    Texts texts;
    texts.add_all(steps);
    std::vector<std::int64_t> path;
    {
        const py::gil_scoped_release release;
        path = ledger.add_solution(root, texts.views, outcome, finished, count_outcome);
    }
    return to_array(std::move(path));
}

py::tuple add_solutions(Ledger& ledger, const py::object& roots, const py::sequence& solutions, const py::object& outcomes,
                        const py::object& finished, bool count_outcome) {
    const Values<std::int64_t> problems(roots, "roots");
    const std::vector<std::int32_t> results = broadcast<std::int32_t>(outcomes, problems.size(), "outcomes");
    const std::vector<std::uint8_t> ended = broadcast<std::uint8_t>(finished, problems.size(), "finished");
    Texts texts;
    auto [array, offsets] = new_array<std::int64_t>(solutions.size() + 1);
    offsets[0] = 0;
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
        texts.add_all(py::object(solutions[s]));
        offsets[s + 1] = static_cast<std::int64_t>(texts.views.size());
    }
    std::vector<std::int64_t> paths;
    {
        const py::gil_scoped_release release;
        paths = ledger.add_solutions(problems.span(), texts.views, offsets, results, ended, count_outcome);
    }
    return py::make_tuple(to_array(std::move(paths)), array);
}

void want(Ledger& ledger, const py::object& nodes, const py::object& n) {
    const std::vector<std::int64_t> which = broadcast<std::int64_t>(nodes, 1, "nodes");
    const std::vector<std::int32_t> counts = broadcast<std::int32_t>(n, which.size(), "n");
    const py::gil_scoped_release release;
    ledger.want(which, counts);
}

py::tuple next(Ledger& ledger, std::int64_t max_completions) {
    Batch batch;
    {
        const py::gil_scoped_release release;
        batch = ledger.next(max_completions);
    }
    return py::make_tuple(to_array(std::move(batch.nodes)), to_array(std::move(batch.first_samples)), to_array(std::move(batch.counts)));
}

std::int64_t record(Ledger& ledger, const py::object& nodes, const py::object& outcomes, const py::object& samples) {
    const Values<std::int64_t> which(nodes, "nodes");
    const Values<std::uint8_t> results(outcomes, "outcomes");
    std::optional<Values<std::int32_t>> numbers;
    if (!samples.is_none()) {
        numbers.emplace(samples, "samples");
        if (numbers->size() != which.size()) {
            throw py::value_error("samples: expected as many values as nodes (" + std::to_string(which.size()) + "), found " +
                                  std::to_string(numbers->size()));
        }
    }
    const py::gil_scoped_release release;
    return ledger.record(which.span(), results.span(), numbers ? numbers->span() : std::span<const std::int32_t>());
}

std::int64_t release_samples(Ledger& ledger, const py::object& nodes, const py::object& first_samples, const py::object& counts) {
    const Values<std::int64_t> which(nodes, "nodes");
    const Values<std::int32_t> firsts(first_samples, "first_samples");
    const Values<std::int32_t> widths(counts, "counts");
    const py::gil_scoped_release release;
    return ledger.release(which.span(), firsts.span(), widths.span());
}

py::dict totals(const Ledger& ledger) {
    const Totals totals = ledger.totals();
    py::dict named;
    named["problems"] = totals.problems;
    named["solutions"] = totals.solutions;
    named["steps"] = totals.steps;
    named["nodes"] = totals.nodes;
    named["closed"] = totals.closed;
    named["own"] = totals.own;
    named["missing"] = totals.missing;
    named["in_flight"] = totals.in_flight;
    named["done"] = totals.done;
    named["ignored"] = totals.ignored;
    return named;
}

}  // namespace

void bind_ledger(py::module_& m) {
    using Guard = py::call_guard<py::gil_scoped_release>;
    py::class_<Ledger>(m, "Ledger")
        .def(py::init<>())
        .def("add_problem", &Ledger::add_problem, py::arg("key"), Guard())
        .def("add_solution", &add_solution, py::arg("root"), py::arg("steps"), py::arg("outcome"), py::arg("finished"),
             py::arg("count_outcome") = false)
        .def("add_solutions", &add_solutions, py::arg("roots"), py::arg("solutions"), py::arg("outcomes"), py::arg("finished"),
             py::arg("count_outcome") = false)
        .def("want", &want, py::arg("nodes"), py::arg("n"))
        .def("want_all", &Ledger::want_all, py::arg("n"), py::arg("roots") = false, Guard())
        .def("next", &next, py::arg("max_completions"))
        .def("record", &record, py::arg("nodes"), py::arg("outcomes"), py::arg("samples") = py::none())
        .def("release", &release_samples, py::arg("nodes"), py::arg("first_samples"), py::arg("counts"))
        .def("close", &Ledger::close, py::arg("node"), py::arg("outcome"), Guard())
        .def("counts", [](const Ledger& ledger) {
            Ledger::Counts counts = ledger.counts();
            return py::make_tuple(to_array<std::int32_t>(std::move(counts.successes)), to_array<std::int32_t>(std::move(counts.trials)));
        })
        .def("parents", [](const Ledger& ledger) { return to_array<std::int64_t>(ledger.parents()); })
        .def("depths", [](const Ledger& ledger) { return to_array<std::int32_t>(ledger.depths()); })
        .def("offsets", [](const Ledger& ledger) { return to_array(ledger.offsets()); })
        .def("closed", [](const Ledger& ledger) { return py::array(to_array(ledger.closed())).attr("view")("bool"); })
        .def("done_samples", [](const Ledger& ledger, std::int64_t node) { return to_array(ledger.done_samples(node)); }, py::arg("node"))
        .def("done", [](const Ledger& ledger) { return ledger.totals().done; })
        .def("in_flight", [](const Ledger& ledger) { return ledger.totals().in_flight; })
        .def("missing", [](const Ledger& ledger) { return ledger.totals().missing; })
        .def("wanted", [](const Ledger& ledger) {
            const Totals totals = ledger.totals();
            return totals.done + totals.in_flight + totals.missing;
        })
        .def("bytes", &Ledger::bytes)
        .def("totals", &totals)
        .def("__len__", [](const Ledger& ledger) { return ledger.totals().nodes; });
}

}  // namespace erprm
