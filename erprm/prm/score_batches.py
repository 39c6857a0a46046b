"""How rows become forward passes for scoring: length buckets, or blocks of prefix trees where sharing pays.

    plan = plan_batches(rows, cost, batch_tokens=4096)
    for batch in plan.batches:
        ...                                           # ids [B, T], positions, ends or None, tags, step_of_tag

*Buckets*: rows of similar length side by side, padded on the right; causal attention needs no mask. *Trees*: rows
sorted by their ids, so that those of one problem follow each other and share what they have in common; consecutive
rows are laid into blocks of limited width, each a prefix tree (`erprm._core.prefix_tree`) in which a token attends to
its own path. A token that many rows share (the question, common steps, equal rows) is computed once per block. Both
give the scores of separate rows; which is cheaper is counted from the rows and the model before anything runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm._core import prefix_tree
from erprm.prm.tokens import EncodedRow

Ints = npt.NDArray[np.int64]
WIDTHS = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)  # block widths that are tried


@dataclass(frozen=True, slots=True)
class Cost:
    """What a forward costs: `token` per token, and `pair` per token and key that attention visits; in FLOPs."""

    token: float
    pair: float

    def of(self, rows: int, width: int, causal: bool) -> float:
        """FLOPs of a batch [rows, width]; causal attention visits half of the keys, a masked one all."""
        return rows * width * (self.token + self.pair * width * (0.5 if causal else 1.0))


@dataclass(frozen=True, slots=True)
class ScoreBatch:
    """One forward.

    Attributes:
        ids, positions: [B, T] int64.
        ends: [B, T] int32, see `erprm.prm.attention`; None for plain causal rows.
        tags: [U] int64, ascending flat positions in [B T] where hidden states are read.
        tag_of_step, steps: [M] int64; step number `steps[m]` (rows flattened) is scored at `tags[tag_of_step[m]]`.
        rows: how many rows are complete with this batch.
    """

    ids: Ints
    positions: Ints
    ends: npt.NDArray[np.int32] | None
    tags: Ints
    tag_of_step: Ints
    steps: Ints
    rows: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Forward passes over some rows.

    Attributes:
        shared: tree blocks rather than buckets.
        tokens: tokens that will be computed, padding included; `row_tokens`: what separate rows hold.
        flops: by `Cost`.
    """

    shared: bool
    tokens: int
    row_tokens: int
    flops: float
    _rows: Sequence[EncodedRow]
    _groups: list[list[list[int]]]  # batches of blocks of row numbers
    _pad_id: int

    def batches(self) -> Iterator[ScoreBatch]:
        """Built one at a time."""
        firsts = np.concatenate([[0], np.cumsum([len(row.tag_positions) for row in self._rows])])
        for blocks in self._groups:
            yield _build(self._rows, blocks, firsts, self._pad_id, self.shared)


def plan_batches(rows: Sequence[EncodedRow], cost: Cost, *, batch_tokens: int, share: bool | None = None,
                 pad_id: int = 0, width: int | None = None) -> Plan:
    """The cheapest plan for `rows`.

    Args:
        cost: of the model.
        batch_tokens: most tokens of one forward, padding included; a longer row makes its own batch.
        share: trees (True), buckets (False), or whichever costs less (None).
        width: of a tree block; the cheapest of `WIDTHS` when None.
    """
    keys = [row.ids.astype(">i4").tobytes() for row in rows]
    order = sorted(range(len(rows)), key=keys.__getitem__)
    lengths = np.array([len(row.ids) for row in rows], np.int64)
    repeats = np.array([False] + [keys[a] == keys[b] for a, b in itertools.pairwise(order)])
    total = int(lengths.sum())
    candidates: list[Plan] = []
    if share is not True:
        blocks = _equal_rows(order, repeats)
        widths = np.array([lengths[block[0]] for block in blocks], np.int64)
        candidates.append(_pack(rows, blocks, widths, batch_tokens, cost, total, pad_id, shared=False))
    if share is not False:
        common = [0] + [_common_length(rows[a].ids, rows[b].ids) for a, b in itertools.pairwise(order)]
        longest = int(lengths.max(initial=1))
        choices = (width,) if width else sorted({max(choice, longest) for choice in WIDTHS if choice <= batch_tokens}
                                                or {longest})
        for choice in choices:
            blocks, sizes = _tree_blocks(order, lengths, common, choice)
            candidates.append(_pack(rows, blocks, sizes, batch_tokens, cost, total, pad_id, shared=True))
    return min(candidates, key=lambda plan: plan.flops)


def _equal_rows(order: list[int], repeats: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Rows that are the same, grouped."""
    blocks: list[list[int]] = []
    for row, repeat in zip(order, repeats, strict=True):
        if repeat:
            blocks[-1].append(row)
        else:
            blocks.append([row])
    return blocks


def _tree_blocks(order: list[int], lengths: Ints, common: list[int], width: int) -> tuple[list[list[int]], Ints]:
    """Consecutive rows into blocks of at most `width` distinct tokens (a longer row alone): blocks and their sizes."""
    blocks: list[list[int]] = []
    sizes: list[int] = []
    for row, shared in zip(order, common, strict=True):
        new = int(lengths[row]) - shared
        if blocks and sizes[-1] + new <= width:
            blocks[-1].append(row)
            sizes[-1] += new
        else:
            blocks.append([row])
            sizes.append(int(lengths[row]))
    return blocks, np.array(sizes, np.int64)


def _pack(rows: Sequence[EncodedRow], blocks: list[list[int]], sizes: Ints, batch_tokens: int, cost: Cost, total: int,
          pad_id: int, *, shared: bool) -> Plan:
    """Blocks of similar size into batches of at most `batch_tokens`."""
    groups: list[list[list[int]]] = []
    tokens, flops = 0, 0.0
    order = np.argsort(-sizes, kind="stable")
    start = 0
    while start < len(order):
        widest = int(sizes[order[start]])
        count = max(1, batch_tokens // widest)
        group = order[start: start + count]
        groups.append([blocks[block] for block in group])
        tokens += len(group) * widest
        flops += cost.of(len(group), widest, causal=not shared)
        start += count
    return Plan(shared, tokens, total, flops, rows, groups, pad_id)


def _build(rows: Sequence[EncodedRow], blocks: list[list[int]], firsts: Ints, pad_id: int, shared: bool) -> ScoreBatch:
    """Lay the blocks of one batch out."""
    begins = [np.cumsum([0] + [len(rows[row].ids) for row in block]) for block in blocks]
    trees = [prefix_tree(np.concatenate([rows[row].ids for row in block]), offsets) if shared else None
             for block, offsets in zip(blocks, begins, strict=True)]
    width = max(len(tree["input_ids"]) if tree else len(rows[block[0]].ids)
                for tree, block in zip(trees, blocks, strict=True))
    width = -(-width // 8) * 8 if shared else width  # masked attention on a GPU wants aligned masks
    ids = np.full((len(blocks), width), pad_id, np.int64)
    positions = np.tile(np.arange(width, dtype=np.int64), (len(blocks), 1))
    ends = np.tile(np.arange(1, width + 1, dtype=np.int32), (len(blocks), 1)) if shared else None
    places: list[Ints] = []
    steps: list[Ints] = []
    for line, (tree, block, offsets) in enumerate(zip(trees, blocks, begins, strict=True)):
        if tree is None or ends is None:
            row = rows[block[0]]
            ids[line, : len(row.ids)] = row.ids
        else:
            size = len(tree["input_ids"])
            ids[line, :size], positions[line, :size] = tree["input_ids"], tree["position_ids"]
            ends[line, :size] = tree["ends"]
        for begin, number in zip(offsets, block, strict=False):
            tags = rows[number].tag_positions
            places.append(line * width + (tags if tree is None else tree["token_of"][begin + tags]))
            steps.append(np.arange(firsts[number], firsts[number + 1]))
    unique, tag_of_step = np.unique(np.concatenate(places), return_inverse=True)
    return ScoreBatch(ids, positions, ends, unique, tag_of_step.astype(np.int64, copy=False), np.concatenate(steps),
                      sum(map(len, blocks)))


def _common_length(a: Ints, b: Ints) -> int:
    """How many leading tokens two rows share."""
    length = min(len(a), len(b))
    different = a[:length] != b[:length]
    first = int(different.argmax()) if length else 0
    return first if length and different[first] else length
