"""The ledger against its rules in plain Python, and what a labelling run relies on."""

import importlib.util
import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erprm._core import Ledger

_spec = importlib.util.spec_from_file_location("ledger_model", Path(__file__).with_name("ledger_model.py"))
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
Model = _module.Model

SOLUTION = st.tuples(st.integers(0, 2),
                     st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.booleans(), st.booleans())
ACTION = st.one_of(
    st.tuples(st.just("solution"), SOLUTION),
    st.tuples(st.just("want"), st.tuples(st.integers(0, 999), st.integers(0, 140))),
    st.tuples(st.just("next"), st.integers(1, 200)),
    st.tuples(st.just("record"), st.tuples(st.integers(0, 999), st.integers(0, 1), st.integers(0, 150))),
    st.tuples(st.just("passing"), SOLUTION),
    st.tuples(st.just("release"), st.tuples(st.integers(0, 999), st.integers(0, 150), st.integers(0, 80))),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTION, max_size=40))
def test_any_sequence_of_calls_agrees_with_the_rules(actions: list) -> None:
    ledger, model = Ledger(), Model()
    for problem in range(3):
        assert ledger.add_problem(str(problem)) == model.add_problem(str(problem))
    for name, value in actions:
        if name == "solution":
            problem, steps, finished, own = value
            outcome = len(steps) % 2  # the same solution always has the same outcome
            assert ledger.add_solution(problem, steps, outcome, finished, own).tolist() == \
                model.add_solution(problem, steps, outcome, finished, own)
        elif name == "want":
            node = value[0] % len(ledger)
            ledger.want(node, value[1])
            model.want(node, value[1])
        elif name == "next":
            given_out = 0
            for node, first, count in zip(*(column.tolist() for column in ledger.next(value)), strict=True):
                run = list(range(first, first + count))
                assert model.missing(node)[:count] == run
                model.taken[node].update(run)
                given_out += count
            assert given_out <= value
            assert given_out > 0 or not any(model.missing(node) for node in range(len(ledger)))
        elif name == "passing":
            problem, steps, right, half = value
            length = len(steps) // 2 if half else 0
            assert ledger.count_passing([problem], [steps], [length], [right]).tolist() == \
                model.count_passing(problem, steps, length, right)
        elif name == "record":
            node = value[0] % len(ledger)
            assert ledger.recorded([node], [value[2]]).tolist() == [value[2] in model.finished[node]]
            assert ledger.record([node], [value[1]], [value[2]]) == model.record(node, value[1], value[2])
        else:
            node = value[0] % len(ledger)
            assert ledger.release([node], [value[1]], [value[2]]) == model.release(node, value[1], value[2])
    k, n = ledger.counts()
    assert k.tolist() == model.k
    assert n.tolist() == model.n
    assert ledger.parents().tolist() == model.parent
    assert ledger.closed().tolist() == model.closed
    assert ledger.missing() == sum(len(model.missing(node)) for node in range(len(ledger)))
    assert ledger.in_flight() == sum(len(t - d) for t, d in zip(model.taken, model.finished, strict=True))
    assert ledger.done() == sum(map(len, model.finished))


def test_completions_count_where_they_pass() -> None:
    ledger = Ledger()
    p, q = ledger.add_problems(["p", "q"])
    a, b, end = ledger.add_solution(p, ["a", "b", "c"], 1, True).tolist()
    ledger.want_all(2)
    texts = [["a", "b", "x"], ["a", "b", "c", "d"], ["a", "b"], ["a", "y", "b"], ["a", "b", "x"]]
    assert ledger.count_passing([p, p, p, p, q], texts, [0, 1, 0, 1, 0], [1, 0, 1, 1, 1]).tolist() == [a, b, b, a]
    assert [column[[a, b, end]].tolist() for column in ledger.counts()] == [[2, 1, 1], [2, 2, 1]]
    assert ledger.missing() == 4
    assert ledger.totals()["passing"] == 4
    with pytest.raises(ValueError, match=r"lengths: expected 0 to the text's number of steps \(1\), found 2"):
        ledger.count_passing([p], [["a"]], [2], [1])
    with pytest.raises(ValueError, match="roots: expected a node that add_problem returned"):
        ledger.count_passing([a], [["a"]], [0], [1])
    with pytest.raises(ValueError, match="node: expected a prefix without trials to close"):
        ledger.close(a, 1)
    assert ledger.totals()["passing"] == 4


def test_extensions_follow_their_prefix() -> None:
    ledger = Ledger()
    root = ledger.add_problem("p")
    a = ledger.add_solution(root, ["a", "b"], -1, False)
    c = ledger.add_solution(root, ["c"], -1, False)
    d = ledger.add_solution(root, ["a", "d"], -1, False)
    ledger.want_all(2)
    assert ledger.next(100)[0].tolist() == [a[0], a[1], d[1], c[0]]


def test_snapshots_outlive_the_ledger() -> None:
    ledger = Ledger()
    node = ledger.add_solution(ledger.add_problem("p"), ["a"], -1, False)[0]
    k, n = ledger.counts()
    ledger.record([node], [True], [0])
    assert n.tolist() == [0, 0]
    n = ledger.counts()[1]
    del ledger
    np.testing.assert_array_equal(n, [0, 1])
    np.testing.assert_array_equal(k, [0, 0])


@settings(max_examples=60, deadline=None)
@given(st.lists(SOLUTION, max_size=50))
def test_many_solutions_at_once_are_as_one_after_the_other(found: list) -> None:
    one, many = Ledger(), Ledger()
    for problem in range(3):
        assert one.add_problem(str(problem)) == many.add_problem(str(problem))
    outcomes = [len(steps) % 2 for _, steps, _, _ in found]
    paths = [one.add_solution(root, steps, outcome, finished, True)
             for (root, steps, finished, _), outcome in zip(found, outcomes, strict=True)]
    nodes, offsets = many.add_solutions([root for root, *_ in found], [steps for _, steps, _, _ in found], outcomes,
                                        [finished for _, _, finished, _ in found], True)
    assert [nodes[a:b].tolist() for a, b in itertools.pairwise(offsets)] == [p.tolist() for p in paths]
    assert many.totals() == one.totals()
    for a, b in zip(many.counts(), one.counts(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_steps_may_hold_any_text() -> None:
    ledger = Ledger()
    root = ledger.add_problem("½")
    texts = ["", "a", "a\0", "½", "𝔸", "a" * 10_000]
    nodes, _ = ledger.add_solutions([root] * len(texts), [[text] for text in texts], -1, False)
    assert len(set(nodes.tolist())) == len(texts)


def test_results_without_sample_numbers() -> None:
    ledger = Ledger()
    a, b = ledger.add_solution(ledger.add_problem("p"), ["a", "b"], -1, False).tolist()
    ledger.want([a, b], [3, 1])
    nodes, _, counts = ledger.next(100)
    assert ledger.record(np.repeat(nodes, counts), [1, 0, 1, 0]) == 4
    assert ledger.done_samples(a).tolist() == [0, 1, 2]
    assert ledger.record([a], [1]) == 0  # none in flight
    assert ledger.totals()["ignored"] == 1
    assert [counts.tolist() for counts in ledger.counts()] == [[0, 2, 0], [0, 3, 1]]


def test_results_from_several_threads_are_counted_once_each() -> None:
    ledger = Ledger()
    root = ledger.add_problem("p")
    nodes, _ = ledger.add_solutions([root] * 40, [[str(s)] for s in range(40)], -1, False)
    counted = []

    def worker() -> None:  # every thread brings every result
        for sample in range(100):
            counted.append(ledger.record(nodes, np.ones(40, np.uint8), np.full(40, sample, np.int32)))

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counted) == ledger.done() == 4000
    assert ledger.totals()["ignored"] == 12_000
    assert ledger.counts()[0].tolist() == [0, *[100] * 40]


REFUSED = {
    "root: .* found 1": lambda ledger: ledger.add_solution(1, ["x"], 1, True),
    "outcome: expected 0, 1 or -1": lambda ledger: ledger.add_solution(0, ["x"], 2, True),
    "outcome: expected 1, .* found 0": lambda ledger: ledger.add_solution(0, ["a", "b"], 0, True),
    "steps: .* found none": lambda ledger: ledger.add_solution(0, [], 1, True),
    "roots: .* found 9": lambda ledger: ledger.add_solutions([0, 9], [["x"], ["y"]], 1, True),
    "solutions: .* solution 1": lambda ledger: ledger.add_solutions([0, 0], [["x"], []], 1, True),
    "solutions: .* found 1": lambda ledger: ledger.add_solutions([0, 0], [["x"]], 1, True),
    "outcomes: .* found 3": lambda ledger: ledger.add_solutions([0], [["x"]], [3], True),
    "outcomes: .* found 2": lambda ledger: ledger.add_solutions([0], [["x"]], [1, 1], True),
    "finished: .* found 2": lambda ledger: ledger.add_solutions([0], [["x"]], 1, [True, False]),
    "n: .* found -1": lambda ledger: ledger.want([1], -1),
    "n: expected 0 to 65536, found 16777216": lambda ledger: ledger.want([1], 2**24),
    "n: .* found 2": lambda ledger: ledger.want([1], [1, 2]),
    "nodes: .* found 7": lambda ledger: ledger.record([7], [1], [0]),
    "nodes: .* found -1": lambda ledger: ledger.record([-1], [1], [0]),
    "outcomes: .* found 256": lambda ledger: ledger.record([1], [256], [0]),
    "outcomes: expected 0 or 1, found 2": lambda ledger: ledger.record([1], [2], [0]),
    "samples: .* found -1": lambda ledger: ledger.record([1], [1], [-1]),
    "samples: .* found 0": lambda ledger: ledger.record([1], [1], []),
    "first_samples: .* found -1": lambda ledger: ledger.release([1], [-1], [1]),
    "max_completions: .* found 0": lambda ledger: ledger.next(0),
    "node: ": lambda ledger: ledger.close(0, 1),
}


@pytest.mark.parametrize("says", REFUSED)
def test_bad_values_name_their_argument_and_change_nothing(says: str) -> None:
    ledger = Ledger()
    ledger.add_solution(ledger.add_problem("p"), ["a", "b"], 1, True)
    ledger.record([0], [1], [0])
    before = ledger.totals()
    with pytest.raises(ValueError, match=says):
        REFUSED[says](ledger)
    assert ledger.totals() == before


@pytest.mark.parametrize("steps", ["text", [1], None, [b"x"]])
def test_steps_that_are_no_list_of_texts_are_refused(steps: object) -> None:
    ledger = Ledger()
    root = ledger.add_problem("p")
    with pytest.raises(TypeError):
        ledger.add_solution(root, steps, 1, True)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ledger.add_solutions([root], [steps], 1, True)  # type: ignore[list-item]
    assert len(ledger) == 1
