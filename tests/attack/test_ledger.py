"""Callers that lie to the ledger: sequences that call it back, arrays that change meanwhile, numbers out of all bounds.

Every case runs in this process: a fault of memory would end it, and with it the tests.
"""

import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import pytest
from attack.counts import LONG, attempt
from hypothesis import given, settings
from hypothesis import strategies as st

from erprm._core import Ledger, first_fit_decreasing, pack_rows, prefix_tree


class Lazy(Sequence[str]):
    """Steps that are made when they are read, and do something to whoever reads."""

    def __init__(self, steps: list[str], then: Any) -> None:
        self.steps, self.then = steps, then

    def __len__(self) -> int:
        return len(self.steps)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        self.then()
        return self.steps[index]

    def __iter__(self) -> Iterator[str]:
        for step in self.steps:
            self.then()
            yield step


def _callbacks(ledger: Ledger, root: int, outer: list[Any]) -> list[Any]:
    return [
        lambda: ledger.add_solution(root, ["x"] * 500, -1, False),
        lambda: ledger.add_solutions([root] * 3, [["x"] * 200] * 3, -1, False),
        lambda: ledger.count_passing([root], [["x"] * 300], [0], [1]),
        lambda: ledger.add_problems([str(i) for i in range(300)]),
        outer.clear,
        lambda: outer.extend(["more"] * 100),
    ]


@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize("call", ["add_solution", "add_solutions", "count_passing"])
def test_a_sequence_that_calls_back_when_it_is_read(call: str, which: int) -> None:
    ledger = Ledger()
    root = ledger.add_problem("p")
    outer: list[Any] = []
    steps = Lazy([f"s{i}" for i in range(50)], _callbacks(ledger, root, outer)[which])
    outer += [steps, ["a", "b"], steps]
    if call == "add_solution":
        assert len(ledger.add_solution(root, steps, 1, True)) == 50
    elif call == "add_solutions":
        assert len(ledger.add_solutions([root] * 3, outer, 1, [True, False, True])[0]) == 102
    else:
        ledger.count_passing([root] * 3, outer, [0, 0, 0], [1, 0, 1])
    again = ledger.add_solution(root, [f"s{i}" for i in range(50)], 1, True)
    assert len(set(again.tolist())) == 50
    assert np.all(ledger.counts()[0] <= ledger.counts()[1])


def test_an_array_that_another_thread_writes_while_it_is_read() -> None:
    """NumPy writes without the GIL: what was checked has to be what is used."""
    ledger = Ledger()
    nodes = ledger.add_solutions([ledger.add_problem("p")] * 64, [[str(i)] for i in range(64)], -1, False)[0]
    which, outcomes = np.tile(nodes, 4000), np.ones(256_000, np.uint8)
    samples = np.zeros(len(which), np.int32)
    ids, offsets, tags = np.ones(4096, np.int64), np.arange(0, 4097, 64), np.zeros(64, np.int64)
    done = threading.Event()

    def disturb() -> None:
        while not done.is_set():
            for array, wild in ((which, 1 << 60), (outcomes, 255), (samples, -(1 << 30)), (offsets, 1 << 60),
                                (tags, -9)):
                kept = array.copy()
                array.fill(wild)
                np.copyto(array, kept)

    thread = threading.Thread(target=disturb)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    refused = 0
    try:
        for _ in range(60):
            for call in (lambda: ledger.record(which, outcomes, samples), lambda: ledger.want(which, samples),
                         lambda: ledger.release(which, samples, samples), lambda: ledger.recorded(which, samples),
                         lambda: pack_rows(ids, offsets, tags, np.arange(65), np.arange(64)),
                         lambda: prefix_tree(ids, offsets)):
                try:
                    call()
                except ValueError:
                    refused += 1
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)
    k, n = ledger.counts()
    assert np.all((k >= 0) & (k <= n))
    assert int(n.sum()) == ledger.done()


def test_a_path_of_300_000_steps_is_no_more_work_than_as_many_short_ones() -> None:
    ledger = Ledger()
    root = ledger.add_problem("p")
    path = ledger.add_solution(root, ["step"] * 300_000, 1, True, count_outcome=True)  # quadratic: 12 s
    ledger.want_all(3)
    nodes, _, counts = ledger.next(1_000_000)
    assert len(nodes) == 299_999  # the last is closed, and the outcome is one sample of the others
    assert set(counts.tolist()) == {2}
    assert ledger.depths()[path[-1]] == 300_000
    passed = ledger.count_passing([root], [["step"] * 300_000], [150_000], [1])
    assert len(passed) == 149_999


def test_more_samples_than_anyone_has_are_refused_and_the_most_are_cheap() -> None:
    ledger = Ledger()
    nodes = ledger.add_solutions([ledger.add_problem("p")] * 1000, [[str(i)] for i in range(1000)], -1, False)[0]
    for n in (2**16 + 1, 2**24, 2**31 - 1):
        with pytest.raises(ValueError, match=f"n: expected 0 to 65536, found {n}"):
            ledger.want(nodes, n)
    ledger.want(nodes, 2**16)
    assert int(ledger.next(2**40)[2].astype(np.int64).sum()) == 1000 * 2**16
    assert ledger.bytes() < 40e6
    with pytest.raises(ValueError, match="samples: expected 0 to 65535, found 65536"):
        ledger.record([1], [1], [2**16])


NUMBERS = st.one_of(st.integers(-2**66, 2**66), st.floats(), st.none(), st.text(max_size=3))
WILD = st.one_of(st.none(), st.booleans(), st.integers(-2**70, 2**70), st.floats(), st.text(max_size=5),
                 st.binary(max_size=3), st.lists(NUMBERS, max_size=5),
                 st.lists(st.lists(st.text(max_size=2), max_size=2), max_size=3),
                 st.sampled_from([np.array(3), np.zeros((2, 2)), np.array([2**63], np.uint64), np.array(["a"]), {}, {1},
                                  np.array([[1]], object), np.zeros(0), "\ud800", ["\ud800", "\x1e", "\0"]]))
CALLS = {"add_problem": 1, "add_problems": 1, "add_solution": 4, "add_solutions": 5, "want": 2, "want_all": 2,
         "next": 1, "record": 3, "release": 3, "close": 2, "count_passing": 4, "recorded": 2, "done_samples": 1}


def _refused(call: Any, arguments: list[Any]) -> bool:
    """Whether it was, with ValueError or TypeError; any other error, and a fault of memory, fails the test."""
    try:
        call(*arguments)
    except (ValueError, TypeError):
        return True
    return False


@settings(max_examples=4000 if LONG else 120, deadline=None)
@given(st.sampled_from(sorted(CALLS)), st.data())
def test_any_arguments_are_taken_or_refused_and_change_nothing(name: str, data: st.DataObject) -> None:
    ledger = Ledger()
    ledger.add_solution(ledger.add_problem("p"), ["a", "b"], 1, True)
    before, arguments = ledger.totals(), [data.draw(WILD) for _ in range(CALLS[name])]
    with attempt("wild calls of the ledger"):
        if _refused(getattr(ledger, name), arguments):
            assert ledger.totals() == before
        k, n = ledger.counts()
        assert np.all((k >= 0) & (k <= n))


@settings(max_examples=2000 if LONG else 80, deadline=None)
@given(st.sampled_from([(first_fit_decreasing, 2), (pack_rows, 5), (prefix_tree, 2)]), st.data())
def test_any_arguments_of_the_packing_are_taken_or_refused(call: tuple[Any, int], data: st.DataObject) -> None:
    _refused(call[0], [data.draw(WILD) for _ in range(call[1])])
