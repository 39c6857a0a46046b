"""Rows that begin alike as one tree, so that what they share is computed once.

The rows of one problem begin with the same question and often with the same steps. Laid out in depth-first order, each
token stands once; its position is its depth, as in the separate row; and it is seen by exactly the tokens of its
subtree, which is a contiguous span [i, end). Attention under that rule gives every row the hidden states of its own
separate forward, and the sum of the rows' losses has the same gradient.

    tree = prefix_tree([[1, 2, 3], [1, 2, 4, 5]])
    tree.ids        # 1 2 3 4 5
    tree.positions  # 0 1 2 2 3
    tree.ends       # 5 5 3 5 5
    tree.nodes      # [0 1 2], [0 1 3 4]: where each token of each row stands
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """K distinct tokens of some rows; `nodes` has one array per row, in the order given."""

    ids: Ints
    positions: Ints
    ends: Ints
    nodes: list[Ints]


def prefix_tree(rows: Sequence[npt.NDArray[np.integer]]) -> PrefixTree:
    """The tree of `rows` (token ids, each at least one). Equal rows share all their tokens."""
    order = sorted(range(len(rows)), key=lambda row: rows[row].astype(">i8").tobytes())
    ids: list[Ints] = []
    positions: list[Ints] = []
    nodes: list[Ints] = [np.empty(0, np.int64)] * len(rows)
    ends = np.zeros(sum(len(row) for row in rows), np.int64)
    size = 0
    previous, path = np.empty(0, np.int64), np.empty(0, np.int64)
    for row in order:
        current = np.asarray(rows[row], np.int64)
        shared = common_length(previous, current)
        ends[path[shared:]] = size  # their subtrees are complete
        new = len(current) - shared
        path = np.concatenate([path[:shared], np.arange(size, size + new)])
        nodes[row] = path
        ids.append(current[shared:])
        positions.append(np.arange(shared, len(current)))
        size += new
        previous = current
    ends[path] = size
    return PrefixTree(np.concatenate(ids), np.concatenate(positions), ends[:size], nodes)


def common_length(a: npt.NDArray[np.integer], b: npt.NDArray[np.integer]) -> int:
    """How many leading tokens two rows share."""
    length = min(len(a), len(b))
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length
