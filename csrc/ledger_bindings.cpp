// erprm._core.Ledger: arguments are read and copied with the GIL, the work is done without it.
#include "bindings.hpp"

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "errors.hpp"
#include "ledger.hpp"

namespace erprm {
namespace {

// Texts of Python as UTF-8, without copies of those that are ASCII. Lists are copied into tuples that are held here, so that
// what Python code does meanwhile (another thread, or a sequence that calls back when it is read) cannot free a text.
class Texts {
public:
    // The texts of a list, behind those there are.
    void add(const char* name, const py::handle& list) {
        const py::tuple items = held(name, "texts", list);
        for (const py::handle item : items) {
            texts_.push_back(utf8(name, item.ptr()));
        }
        kept_.push_back(items);
    }

    // Those of a list of lists; where each begins, and how many there are in all.
    std::vector<std::int64_t> add_lists(const py::handle& lists) {
        const py::tuple items = held("solutions", "lists of texts", lists);
        std::vector<std::int64_t> offsets{0};
        offsets.reserve(items.size() + 1);
        for (const py::handle item : items) {
            add("steps", item);
            offsets.push_back(static_cast<std::int64_t>(texts_.size()));
        }
        return offsets;
    }

    void add_one(const char* name, const py::object& text) {
        kept_.push_back(text);
        texts_.push_back(utf8(name, text.ptr()));
    }

    std::span<const std::string_view> span() const { return texts_; }

private:
    // A text is not meant as the sequence of its characters.
    static py::tuple held(const char* name, const char* what, const py::handle& given) {
        if (PyUnicode_Check(given.ptr()) || !PySequence_Check(given.ptr())) {
            throw py::type_error(std::string(name) + ": expected a list of " + what + ", found " + type_name(given));
        }
        const auto items = py::reinterpret_steal<py::object>(PySequence_Tuple(given.ptr()));
        if (!items) {
            throw py::error_already_set();
        }
        return py::reinterpret_borrow<py::tuple>(items);
    }

    std::string_view utf8(const char* name, PyObject* text) {
        if (!PyUnicode_Check(text)) {
            throw py::type_error(std::string(name) + ": expected texts, found " + type_name(text));
        }
        if (PyUnicode_IS_COMPACT_ASCII(text)) {
            return {static_cast<const char*>(PyUnicode_DATA(text)), static_cast<std::size_t>(PyUnicode_GET_LENGTH(text))};
        }
        auto bytes = py::reinterpret_steal<py::bytes>(PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass"));
        if (!bytes) {
            throw py::error_already_set();
        }
        const std::string_view view(PyBytes_AS_STRING(bytes.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr())));
        kept_.push_back(std::move(bytes));
        return view;
    }

    std::vector<py::object> kept_;  // what the views point into
    std::vector<std::string_view> texts_;
};

// One number that stands for the same number `size` times, or an array.
template <class T>
std::vector<T> broadcast(const py::object& value, std::size_t size, const char* name) {
    if (PyIndex_Check(value.ptr()) != 0 && !py::isinstance<py::array>(value)) {
        return std::vector<T>(size, whole_number<T>(value, name));
    }
    return values_of<T>(value, name);
}

py::array as_flags(std::vector<std::uint8_t>&& values) { return py::array(to_array(std::move(values))).attr("view")("bool"); }

// `call` without the GIL. Whatever it reads was copied before; no lock is held while the GIL is waited for.
template <class Call>
auto unlocked(Call call) {
    const py::gil_scoped_release release;
    return call();
}

std::int64_t add_problem(Ledger& ledger, const py::object& key) {
    Texts name;
    name.add_one("key", key);
    return unlocked([&] { return ledger.add_problems(name.span())[0]; });
}

py::array_t<std::int64_t> add_problems(Ledger& ledger, const py::object& keys) {
    Texts names;
    names.add("keys", keys);
    return to_array(unlocked([&] { return ledger.add_problems(names.span()); }));
}

py::array_t<std::int64_t> add_solution(Ledger& ledger, std::int64_t root, const py::object& steps, int outcome, bool finished,
                                       bool count_outcome) {
    Texts texts;
    texts.add("steps", steps);
    return to_array(unlocked([&] { return ledger.add_solution(root, texts.span(), outcome, finished, count_outcome); }));
}

py::tuple add_solutions(Ledger& ledger, const py::object& roots, const py::object& solutions, const py::object& outcomes,
                        const py::object& finished, bool count_outcome) {
    const auto problems = values_of<std::int64_t>(roots, "roots");
    const auto results = broadcast<std::int32_t>(outcomes, problems.size(), "outcomes");
    const auto ended = broadcast<std::uint8_t>(finished, problems.size(), "finished");
    Texts texts;
    auto offsets = texts.add_lists(solutions);
    auto paths = unlocked([&] { return ledger.add_solutions(problems, texts.span(), offsets, results, ended, count_outcome); });
    return py::make_tuple(to_array(std::move(paths)), to_array(std::move(offsets)));
}

void want(Ledger& ledger, const py::object& nodes, const py::object& n) {
    const auto which = broadcast<std::int64_t>(nodes, 1, "nodes");
    const auto counts = broadcast<std::int32_t>(n, which.size(), "n");
    unlocked([&] { ledger.want(which, counts); });
}

py::tuple next(Ledger& ledger, std::int64_t max_completions) {
    Batch batch = unlocked([&] { return ledger.next(max_completions); });
    return py::make_tuple(to_array(std::move(batch.nodes)), to_array(std::move(batch.first_samples)), to_array(std::move(batch.counts)));
}

std::int64_t record(Ledger& ledger, const py::object& nodes, const py::object& outcomes, const py::object& samples) {
    const auto which = values_of<std::int64_t>(nodes, "nodes");
    const auto results = values_of<std::uint8_t>(outcomes, "outcomes");
    std::vector<std::int32_t> numbers;
    if (!samples.is_none()) {
        numbers = values_of<std::int32_t>(samples, "samples");
        check_lengths("samples", "nodes", which.size(), numbers.size());
    }
    return unlocked([&] { return ledger.record(which, results, numbers); });
}

std::int64_t release_samples(Ledger& ledger, const py::object& nodes, const py::object& first_samples, const py::object& counts) {
    const auto which = values_of<std::int64_t>(nodes, "nodes");
    const auto firsts = values_of<std::int32_t>(first_samples, "first_samples");
    const auto widths = values_of<std::int32_t>(counts, "counts");
    return unlocked([&] { return ledger.release(which, firsts, widths); });
}

py::array_t<std::int64_t> count_passing(Ledger& ledger, const py::object& roots, const py::object& solutions,
                                        const py::object& lengths, const py::object& outcomes) {
    const auto problems = values_of<std::int64_t>(roots, "roots");
    const auto sampled_from = values_of<std::int32_t>(lengths, "lengths");
    const auto results = values_of<std::uint8_t>(outcomes, "outcomes");
    Texts texts;
    const auto offsets = texts.add_lists(solutions);
    return to_array(unlocked([&] { return ledger.count_passing(problems, texts.span(), offsets, sampled_from, results); }));
}

py::array recorded(const Ledger& ledger, const py::object& nodes, const py::object& samples) {
    const auto which = values_of<std::int64_t>(nodes, "nodes");
    const auto numbers = values_of<std::int32_t>(samples, "samples");
    return as_flags(unlocked([&] { return ledger.recorded(which, numbers); }));
}

py::dict totals(const Ledger& ledger) {
    const Totals totals = unlocked([&] { return ledger.totals(); });
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
    py::class_<Ledger>(m, "Ledger", R"(Which prefixes exist, how many completions each wants, which are in flight, which are done and how they went.

    ledger = Ledger()
    root = ledger.add_problem("gsm8k/train/17")
    nodes = ledger.add_solution(root, ["3*4=12", "2+12=14"], outcome=1, finished=True)
    ledger.want_all(16)
    batch_nodes, first_samples, counts = ledger.next(256)       # sample, grade, then
    ledger.record(np.repeat(batch_nodes, counts), outcomes)     # one outcome per completion
    k, n = ledger.counts()

A node is a prefix: a problem's root (no steps yet) or the first j steps of a solution. Equal prefixes of a problem
are one node. Where a solution *ends*, it has a node of its own, even if another solution goes on from the same
text: an ended solution's value is its outcome, known without sampling, and that node is closed.

Every completion of a node has a sample number 0, 1, 2, ...; `next` hands out the lowest that are neither done nor
in flight. After a restart, `record` with the sample numbers found on disk restores the state; whatever holes an
interrupted run left are handed out again under the same numbers.

Safe to use from several threads. Memory: about 110 bytes per node, nothing per completion up to 64 samples a node and
two bits each beyond. At most 2**31 - 1 nodes and 2**16 samples of a node.
)")
        .def(py::init<>())
        .def("add_problem", &add_problem, py::arg("key"),
             R"(The root of the problem with this key, new or known.)")
        .def("add_problems", &add_problems, py::arg("keys"),
             R"(`add_problem` for many: int64 [keys].)")
        .def("add_solution", &add_solution, py::arg("root"), py::arg("steps"), py::arg("outcome"), py::arg("finished"),
             py::arg("count_outcome") = false,
             R"(Intern the prefixes of a solution.

Args:
    outcome: 0, 1, or -1 when the solution was not graded.
    finished: the solution ended by itself; its last node is closed (k = outcome, n = 1; n = 0 without outcome).
    count_outcome: count the outcome, if known, as one more sample of every open prefix, the root included:
        right when the solution was drawn from the policy that completes. It needs no sample number and lowers
        what the prefix still misses. Adding the same solution twice counts it twice.

Returns:
    int64 [L]: node j is the prefix of the first j + 1 steps.

Raises:
    ValueError: for an empty solution, a root that is none, or an outcome that contradicts the one with which
        the same finished solution was added before.
)")
        .def("add_solutions", &add_solutions, py::arg("roots"), py::arg("solutions"), py::arg("outcomes"), py::arg("finished"),
             py::arg("count_outcome") = false,
             R"(`add_solution` for many, several times as fast: solution s of the problem roots[s].

Args:
    roots: int64 [S].
    solutions: the steps of each.
    outcomes: int32 [S], or one number for all.
    finished: bool [S], or one for all.

Returns:
    (nodes int64 [steps of all], offsets int64 [S + 1]): solution s has nodes[offsets[s] : offsets[s + 1]].

Raises:
    ValueError: as `add_solution`; when an outcome contradicts, the solutions before that one stay added.
)")
        .def("want", &want, py::arg("nodes"), py::arg("n"),
             R"(Set how many outcomes nodes shall have in all; `n` is one number or one per node, at
most 2**16.

Lowering it stops a node: nothing more is handed out, what is in flight may still be recorded. Closed nodes
take the number and are never handed out.
)")
        .def("want_all", &Ledger::want_all, py::arg("n"), py::arg("roots") = false, Guard(),
             R"(`want` for every node there is now; for roots (the bare question) only when asked.)")
        .def("next", &next, py::arg("max_completions"),
             R"(Hand out what is missing, in depth-first order, so that the extensions of a prefix follow it.

Returns:
    (nodes int64, first_sample int32, count int32), one entry per run of consecutive sample numbers, marked as
    in flight. A run is not split to fill the batch, so that there may be fewer than `max_completions`; only a
    run that is longer than that by itself is split. Empty when nothing is missing.
)")
        .def("record", &record, py::arg("nodes"), py::arg("outcomes"), py::arg("samples") = py::none(),
             R"(Count completions, one per entry, in any order.

Args:
    nodes: int64 [R].
    outcomes: uint8 or bool [R], 0 or 1.
    samples: int32 [R], the sample numbers; they need not have been handed out by this ledger. Without them,
        each entry stands for the lowest sample of its node that is in flight.

Returns:
    How many were counted. The others are ignored, and counted in `totals()["ignored"]`: the sample was done
    before, none was in flight, or the node is closed.
)")
        .def("release", &release_samples, py::arg("nodes"), py::arg("first_samples"), py::arg("counts"),
             R"(Give back runs that `next` handed out and that will not come: `ledger.release(*batch)`.

Returns how many samples are missing again; those done meanwhile stay done.
)")
        .def("close", &Ledger::close, py::arg("node"), py::arg("outcome"), Guard(),
             R"(Say that a prefix is a finished solution (outcome 0 or 1, -1 when not known): it is never sampled again.

Raises:
    ValueError: if the node has trials, or is closed with another outcome.
)")
        .def("count_passing", &count_passing, py::arg("roots"), py::arg("solutions"), py::arg("lengths"), py::arg("outcomes"),
             R"(Count completions once more at the prefixes that they pass through.

A completion of one prefix that goes on through a longer one is a completion of that one too. Here it takes no
sample number, and changes nothing of what is wanted or missing: it is a trial beyond those.

Args:
    roots: int64 [R], the problem of each.
    solutions: the steps of each as a whole, those of the prefix it was sampled from included.
    lengths: int32 [R], how many of the steps are that prefix.
    outcomes: uint8 or bool [R], 0 or 1.

Returns:
    int64, the nodes at which one was counted, text after text: open prefixes of more than lengths[r] steps and
    fewer than all.

Raises:
    ValueError: for a root that is none, or lengths beyond a text's steps.
)")
        .def("recorded", &recorded, py::arg("nodes"), py::arg("samples"),
             R"(Whether each sample (int32 [R]) of a node (int64 [R]) is done, bool [R].)")
        .def("counts", [](const Ledger& ledger) {
            Ledger::Counts counts = unlocked([&] { return ledger.counts(); });
            return py::make_tuple(to_array(std::move(counts.successes)), to_array(std::move(counts.trials)));
        },
             R"((k, n) int32 [nodes]: successes and trials, a closed node's own outcome included. A copy of this moment.)")
        .def("parents", [](const Ledger& ledger) { return to_array(unlocked([&] { return ledger.parents(); })); },
             R"(int64 [nodes], -1 for roots. A parent's number is lower than its children's.)")
        .def("depths", [](const Ledger& ledger) { return to_array(unlocked([&] { return ledger.depths(); })); },
             R"(int32 [nodes]: steps in the prefix, 0 for roots.)")
        .def("offsets", [](const Ledger& ledger) { return to_array(unlocked([&] { return ledger.offsets(); })); },
             R"(int64 [nodes + 1]: sums of n, the segment offsets of outcomes listed node by node.)")
        .def("closed", [](const Ledger& ledger) { return as_flags(unlocked([&] { return ledger.closed(); })); },
             R"(bool [nodes]: never sampled, because the solution ended there.)")
        .def("done_samples", [](const Ledger& ledger, std::int64_t node) { return to_array(unlocked([&] { return ledger.done_samples(node); })); }, py::arg("node"),
             R"(The sample numbers of a node that are done, ascending.)")
        .def("done", [](const Ledger& ledger) { return unlocked([&] { return ledger.totals().done; }); },
             R"(Completions recorded.)")
        .def("in_flight", [](const Ledger& ledger) { return unlocked([&] { return ledger.totals().in_flight; }); },
             R"(Completions handed out, neither recorded nor released.)")
        .def("missing", [](const Ledger& ledger) { return unlocked([&] { return ledger.totals().missing; }); },
             R"(Completions that `next` would still hand out.)")
        .def("wanted", [](const Ledger& ledger) {
            const Totals totals = unlocked([&] { return ledger.totals(); });
            return totals.done + totals.in_flight + totals.missing;
        },
             R"(done + in_flight + missing: how many there will be at the end if nothing else changes.)")
        .def("bytes", &Ledger::bytes, Guard(),
             R"(Memory held by the ledger, in bytes; walks over nodes with more than 64 samples.)")
        .def("totals", &totals,
             R"(problems, solutions, steps (of all solutions, before merging), nodes, closed, own (outcomes of solutions
counted as samples), passing (counted by `count_passing`), missing, in_flight, done, ignored: all at one
moment.
)")
        .def("__len__", [](const Ledger& ledger) { return unlocked([&] { return ledger.totals().nodes; }); },
             R"(Nodes, roots included; they are numbered 0 .. len - 1 in the order in which they were first seen.)");
}

}  // namespace erprm
