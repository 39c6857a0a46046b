// erprm._core.Ledger. Arguments are read with the GIL, the work is done without it; no lock is held while waiting for it.
#include "bindings.hpp"

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "ledger.hpp"

namespace erprm {
namespace {

// A text's digest, read where Python keeps it: in one, two or four bytes a character, always the same for equal texts.
Digest digest_of(const char* name, PyObject* text) {
    if (!PyUnicode_Check(text)) {
        throw py::type_error(std::string(name) + ": expected texts, found " + type_name(text));
    }
    if (PyUnicode_READY(text) != 0) {
        throw py::error_already_set();
    }
    const auto width = static_cast<unsigned>(PyUnicode_KIND(text));
    return digest({static_cast<const char*>(PyUnicode_DATA(text)), width * static_cast<std::size_t>(PyUnicode_GET_LENGTH(text))}, width);
}

// A list or tuple, or what can be made one; a text is not meant as the sequence of its characters.
class Items {
public:
    Items(const char* name, const char* what, PyObject* given) {
        if (PyUnicode_Check(given) || !PySequence_Check(given)) {
            throw py::type_error(std::string(name) + ": expected a list of " + what + ", found " + type_name(given));
        }
        list_ = py::reinterpret_steal<py::object>(PySequence_Fast(given, name));
        if (!list_) {
            throw py::error_already_set();
        }
    }

    std::span<PyObject* const> span() const {  // valid while the GIL is held and no Python code runs
        return {PySequence_Fast_ITEMS(list_.ptr()), static_cast<std::size_t>(PySequence_Fast_GET_SIZE(list_.ptr()))};
    }

private:
    py::object list_;
};

// An empty vector that keeps what it once took: fresh memory for every call would cost more than the digests.
std::vector<Digest>& scratch() {
    static thread_local std::vector<Digest> digests;
    digests.clear();
    return digests;
}

// Asks memory for a text's head and its first 80 characters; nothing is read.
void ask_for(PyObject* text) {
    for (std::size_t line = 0; line < 2; ++line) {
        __builtin_prefetch(reinterpret_cast<const char*>(text) + 64 * line);
    }
}

void add_digests(const char* name, PyObject* texts, std::vector<Digest>& digests) {
    const Items items(name, "texts", texts);
    const std::span<PyObject* const> list = items.span();
    const std::size_t before = digests.size();
    digests.resize(before + list.size());
    for (std::size_t i = 0; i < list.size(); ++i) {
        digests[before + i] = digest_of(name, list[i]);
    }
}

// Asks memory for what list s will need, so that it is there when its turn comes: first the lists' heads, then what these
// point to, then the texts. Equal texts of several solutions are objects of their own, all over the heap.
void ask_ahead(std::span<PyObject* const> lists, std::size_t s) {
    constexpr std::size_t step = 4;
    if (s + 3 * step < lists.size()) {
        __builtin_prefetch(lists[s + 3 * step]);
    }
    if (s + 2 * step < lists.size() && PyList_CheckExact(lists[s + 2 * step])) {
        __builtin_prefetch(PySequence_Fast_ITEMS(lists[s + 2 * step]));
    }
    if (s + step < lists.size() && PyList_CheckExact(lists[s + step])) {
        const auto count = PyList_GET_SIZE(lists[s + step]);
        std::for_each_n(PySequence_Fast_ITEMS(lists[s + step]), count, ask_for);
    }
}

// The digests of many lists of texts, one list after another, and where each list begins and ends.
py::array_t<std::int64_t> add_all_digests(const py::object& solutions, std::vector<Digest>& digests) {
    const Items items("solutions", "lists of texts", solutions.ptr());
    auto [array, offsets] = new_array<std::int64_t>(items.span().size() + 1);
    offsets[0] = 0;
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
        if (s >= items.span().size()) {
            throw py::value_error("solutions: they changed while they were read");
        }
        ask_ahead(items.span(), s);
        add_digests("steps", items.span()[s], digests);
        offsets[s + 1] = static_cast<std::int64_t>(digests.size());
    }
    return array;
}

// An array, or one number that stands for the same number `size` times.
template <class T>
class Broadcast {
public:
    Broadcast(const py::object& value, std::size_t size, const char* name) {
        if (PyIndex_Check(value.ptr()) != 0 && !py::isinstance<py::array>(value)) {
            copies_.assign(size, whole_number<T>(value, name));
        } else {
            values_.emplace(value, name);
        }
    }

    std::span<const T> span() const { return values_ ? values_->span() : std::span<const T>(copies_); }

private:
    std::optional<Values<T>> values_;
    std::vector<T> copies_;
};

py::array as_flags(std::vector<std::uint8_t>&& values) { return py::array(to_array(std::move(values))).attr("view")("bool"); }

std::int64_t add_problem(Ledger& ledger, const py::object& key) {
    const Digest digest = digest_of("key", key.ptr());
    const py::gil_scoped_release release;
    return ledger.add_problems({&digest, 1})[0];
}

py::array_t<std::int64_t> add_problems(Ledger& ledger, const py::object& keys) {
    std::vector<Digest>& digests = scratch();
    add_digests("keys", keys.ptr(), digests);
    std::vector<std::int64_t> roots;
    {
        const py::gil_scoped_release release;
        roots = ledger.add_problems(digests);
    }
    return to_array(std::move(roots));
}

py::array_t<std::int64_t> add_solution(Ledger& ledger, std::int64_t root, const py::object& steps, int outcome, bool finished,
                                       bool count_outcome) {
    std::vector<Digest>& digests = scratch();
    add_digests("steps", steps.ptr(), digests);
    std::vector<std::int64_t> path;
    {
        const py::gil_scoped_release release;
        path = ledger.add_solution(root, digests, outcome, finished, count_outcome);
    }
    return to_array(std::move(path));
}

py::tuple add_solutions(Ledger& ledger, const py::object& roots, const py::object& solutions, const py::object& outcomes,
                        const py::object& finished, bool count_outcome) {
    const Values<std::int64_t> problems(roots, "roots");
    const Broadcast<std::int32_t> results(outcomes, problems.size(), "outcomes");
    const Broadcast<std::uint8_t> ended(finished, problems.size(), "finished");
    std::vector<Digest>& digests = scratch();
    py::array_t<std::int64_t> offsets = add_all_digests(solutions, digests);
    const std::span<const std::int64_t> bounds(offsets.data(), static_cast<std::size_t>(offsets.size()));
    std::vector<std::int64_t> paths;
    {
        const py::gil_scoped_release release;
        paths = ledger.add_solutions(problems.span(), digests, bounds, results.span(), ended.span(), count_outcome);
    }
    return py::make_tuple(to_array(std::move(paths)), std::move(offsets));
}

void want(Ledger& ledger, const py::object& nodes, const py::object& n) {
    const Broadcast<std::int64_t> which(nodes, 1, "nodes");
    const Broadcast<std::int32_t> counts(n, which.span().size(), "n");
    const py::gil_scoped_release release;
    ledger.want(which.span(), counts.span());
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

py::array_t<std::int64_t> count_passing(Ledger& ledger, const py::object& roots, const py::object& solutions,
                                        const py::object& lengths, const py::object& outcomes) {
    const Values<std::int64_t> problems(roots, "roots");
    const Values<std::int32_t> sampled_from(lengths, "lengths");
    const Values<std::uint8_t> results(outcomes, "outcomes");
    std::vector<Digest>& digests = scratch();
    const py::array_t<std::int64_t> offsets = add_all_digests(solutions, digests);
    const std::span<const std::int64_t> bounds(offsets.data(), static_cast<std::size_t>(offsets.size()));
    std::vector<std::int64_t> passed;
    {
        const py::gil_scoped_release release;
        passed = ledger.count_passing(problems.span(), digests, bounds, sampled_from.span(), results.span());
    }
    return to_array(std::move(passed));
}

py::array recorded(const Ledger& ledger, const py::object& nodes, const py::object& samples) {
    const Values<std::int64_t> which(nodes, "nodes");
    const Values<std::int32_t> numbers(samples, "samples");
    std::vector<std::uint8_t> flags;
    {
        const py::gil_scoped_release release;
        flags = ledger.recorded(which.span(), numbers.span());
    }
    return as_flags(std::move(flags));
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
    named["passing"] = totals.passing;
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
        .def("add_problem", &add_problem, py::arg("key"))
        .def("add_problems", &add_problems, py::arg("keys"))
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
        .def("count_passing", &count_passing, py::arg("roots"), py::arg("solutions"), py::arg("lengths"), py::arg("outcomes"))
        .def("recorded", &recorded, py::arg("nodes"), py::arg("samples"))
        .def("counts", [](const Ledger& ledger) {
            Ledger::Counts counts = ledger.counts();
            return py::make_tuple(to_array<std::int32_t>(std::move(counts.successes)), to_array<std::int32_t>(std::move(counts.trials)));
        })
        .def("parents", [](const Ledger& ledger) { return to_array<std::int64_t>(ledger.parents()); })
        .def("depths", [](const Ledger& ledger) { return to_array<std::int32_t>(ledger.depths()); })
        .def("offsets", [](const Ledger& ledger) { return to_array(ledger.offsets()); })
        .def("closed", [](const Ledger& ledger) { return as_flags(ledger.closed()); })
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
