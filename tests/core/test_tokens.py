"""Packing and prefix trees against plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erprm._core import first_fit_decreasing, pack_rows, prefix_tree

ROWS = st.lists(st.lists(st.integers(0, 3), max_size=6), max_size=8)


def _flat(rows: list[list[int]]) -> tuple[list[int], list[int]]:
    return [value for row in rows for value in row], np.cumsum([0, *map(len, rows)]).tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=60), st.integers(20, 50))
def test_first_fit_decreasing(lengths: list[int], capacity: int) -> None:
    room: list[int] = []
    expected = [0] * len(lengths)
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        fitting = [b for b, left in enumerate(room) if left >= lengths[row]]
        if not fitting:
            fitting = [len(room)]
            room.append(capacity)
        room[fitting[0]] -= lengths[row]
        expected[row] = fitting[0]
    bins, count = first_fit_decreasing(lengths, capacity)
    assert bins.tolist() == expected
    assert count == len(room)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.data())
def test_pack_rows(rows: list[list[int]], data: st.DataObject) -> None:
    ids, offsets = _flat(rows)
    tags, tag_offsets = _flat([[i for i, value in enumerate(row) if value == 3] for row in rows])
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6)) if rows else []
    packed, positions, cu_seqlens, tag_positions = pack_rows(ids, offsets, tags, tag_offsets, chosen)
    picked = [rows[row] for row in chosen]
    assert packed.tolist() == [value for row in picked for value in row]
    assert positions.tolist() == [i for row in picked for i in range(len(row))]
    assert cu_seqlens.tolist() == np.cumsum([0, *map(len, picked)]).tolist()
    assert tag_positions.tolist() == np.flatnonzero(packed == 3).tolist()


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_prefix_tree(rows: list[list[int]]) -> None:
    flat, offsets = _flat(rows)
    tree = prefix_tree(flat, offsets)
    prefixes = sorted({tuple(row[:length]) for row in rows for length in range(1, len(row) + 1)})
    at = {prefix: i for i, prefix in enumerate(prefixes)}
    assert tree["input_ids"].tolist() == [prefix[-1] for prefix in prefixes]
    assert tree["position_ids"].tolist() == [len(prefix) - 1 for prefix in prefixes]
    assert tree["ends"].tolist() == [i + sum(other[: len(prefix)] == prefix for other in prefixes)
                                     for i, prefix in enumerate(prefixes)]
    assert tree["token_of"].tolist() == [at[tuple(row[:length])] for row in rows for length in range(1, len(row) + 1)]


@pytest.mark.parametrize(("call", "says"), [
    (lambda: first_fit_decreasing([5], 4), "5"),
    (lambda: first_fit_decreasing([-1], 4), "-1"),
    (lambda: pack_rows([1], [0, 1], [1], [0, 1], [0]), "tags"),
    (lambda: pack_rows([1], [0, 1], [0], [0, 1], [1]), "rows"),
    (lambda: pack_rows([1], [0, 2], [0], [0, 1], [0]), "row_offsets"),
    (lambda: pack_rows([1], [0, 1], [0], [-1, 1], [0]), "tag_offsets"),
    (lambda: pack_rows([1], [0, 1], [0], [0], [0]), "tag_offsets"),
    (lambda: pack_rows([1], [[0, 1]], [0], [0, 1], [0]), "row_offsets"),
    (lambda: prefix_tree([1], [0, 1, 0]), "row_offsets"),
])
def test_bad_values_name_their_argument(call, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize("call", [lambda: first_fit_decreasing([1.5], 2), lambda: prefix_tree(["a"], [0, 1])])
def test_bad_types_are_refused(call) -> None:
    with pytest.raises(TypeError, match="expected"):
        call()
