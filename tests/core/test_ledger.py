"""The ledger against its rules in plain Python, and what a labelling run relies on."""

import importlib.util
from pathlib import Path

import numpy as np
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
        elif name == "record":
            node = value[0] % len(ledger)
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
    assert not n.flags.writeable
    n = ledger.counts()[1]
    del ledger
    np.testing.assert_array_equal(n, [0, 1])
    np.testing.assert_array_equal(k, [0, 0])
