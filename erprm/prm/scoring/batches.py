"""How rows become forward passes for scoring: length buckets, or paths through shared prefixes where they pay.

    plan = plan_batches(rows, cost, batch_tokens=4096)
    for batch in plan.batches():
        ...                                           # ids [B, T], positions, groups or None, tags, tag_of_step

*Buckets*: rows of similar length side by side, padded on the right; causal attention needs no mask. *Paths*: rows
sorted by their ids, so that those of one problem follow each other; consecutive rows make a batch [1, N] of their
distinct tokens without padding, and attention follows each row's path (`erprm.prm.attention.paths`). A token that rows
share (the question, common steps, equal rows) is computed once per batch. Both give the scores of separate rows; which
is cheaper is counted from the rows and the model before anything runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.prm.attention.paths import PathGroup
from erprm.prm.rows.tokens import EncodedRow
from erprm.prm.scoring.cost import Cost

Ints = npt.NDArray[np.int64]
KEYS = 4  # gathered keys of one attention call, at most so many times the tokens of a batch


@dataclass(frozen=True, slots=True)
class ScoreBatch:
    """One forward.

    Attributes:
        ids, positions: [B, T] int64; B = 1 along paths.
        groups, tag_groups: attention of the tokens, and of the tags alone; None for plain causal rows.
        tags: [U] int64, ascending flat positions in [B T] where hidden states are read.
        tag_of_step, steps: [M] int64; step number `steps[m]` (rows flattened) is scored at `tags[tag_of_step[m]]`.
        rows: how many rows are complete with this batch.
    """

    ids: Ints
    positions: Ints
    groups: list[PathGroup] | None
    tag_groups: list[PathGroup] | None
    tags: Ints
    tag_of_step: Ints
    steps: Ints
    rows: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Forward passes over some rows.

    Attributes:
        shared: paths rather than buckets.
        tokens: tokens that will be computed, padding included; `row_tokens`: what separate rows hold.
        flops: by `Cost`.
    """

    shared: bool
    tokens: int
    row_tokens: int
    flops: float
    _rows: Sequence[EncodedRow]
    _batches: list[_Batch]
    _cost: Cost

    def batches(self) -> Iterator[ScoreBatch]:
        """Built one at a time."""
        firsts = np.concatenate([[0], np.cumsum([len(row.tag_positions) for row in self._rows])])
        for batch in self._batches:
            yield _along_paths(self._rows, batch, firsts, self._cost) if self.shared else \
                _side_by_side(self._rows, batch, firsts)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows of a batch; in a bucket `common` is 0 or, for a row equal to the one before it, its whole length.

    Attributes:
        rows: [R] row numbers; common: [R] leading tokens shared with the row before.
        groups: along paths, which of the rows (by place) share an attention call.
    """

    rows: Ints
    common: Ints
    groups: list[Ints]


def plan_batches(rows: Sequence[EncodedRow], cost: Cost, *, batch_tokens: int, share: bool | None = None) -> Plan:
    """The cheapest plan for `rows`.

    Args:
        cost: of the model.
        batch_tokens: most tokens of one forward, padding included; a longer row makes its own batch.
        share: paths (True), buckets (False), or whichever costs less (None).
    """
    keys = [row.ids.astype(">i4").tobytes() for row in rows]
    order = np.array(sorted(range(len(rows)), key=keys.__getitem__), np.int64)
    lengths = np.array([len(row.ids) for row in rows], np.int64)[order]
    common = np.array([0] * bool(len(order))
                      + [common_length(rows[a].ids, rows[b].ids) for a, b in itertools.pairwise(order)], np.int64)
    candidates = []
    if share is not True:
        candidates.append(_buckets(rows, order, lengths, common, batch_tokens, cost))
    if share is not False:
        candidates.append(_paths(rows, order, lengths, common, batch_tokens, cost))
    return min(candidates, key=lambda plan: plan.flops)


def _buckets(rows: Sequence[EncodedRow], order: Ints, lengths: Ints, common: Ints, batch_tokens: int, cost: Cost,
             ) -> Plan:
    """Distinct rows of similar length into batches of at most `batch_tokens`."""
    new = np.flatnonzero((common < lengths) | (np.concatenate([[-1], lengths[:-1]]) != lengths))
    equal = np.diff(np.append(new, len(order)))  # how many rows are the same
    by_length = np.argsort(-lengths[new], kind="stable")
    batches: list[_Batch] = []
    tokens, flops, start = 0, 0.0, 0
    while start < len(by_length):
        widest = int(lengths[new[by_length[start]]])
        chosen = by_length[start: start + max(1, batch_tokens // widest)]
        places = np.concatenate([np.arange(new[one], new[one] + equal[one]) for one in chosen])
        firsts = np.concatenate([[True] + [False] * (equal[one] - 1) for one in chosen])
        batches.append(_Batch(order[places], np.where(firsts, 0, lengths[places]), []))
        tokens += len(chosen) * widest
        flops += len(chosen) * widest * (cost.token + cost.pair * widest) + cost.call
        start += len(chosen)
    return Plan(False, tokens, int(lengths.sum()), flops, rows, batches, cost)


def _paths(rows: Sequence[EncodedRow], order: Ints, lengths: Ints, common: Ints, batch_tokens: int, cost: Cost,
           ) -> Plan:
    """Consecutive rows into batches of at most `batch_tokens` distinct tokens."""
    batches: list[_Batch] = []
    tokens, flops, start = 0, 0.0, 0
    while start < len(order):
        sizes = np.cumsum(np.concatenate([lengths[start: start + 1], (lengths - common)[start + 1:][:batch_tokens]]))
        end = start + max(1, int(np.searchsorted(sizes, batch_tokens, side="right")))
        shared = np.concatenate([[0], common[start + 1: end]])
        groups, pairs, gathered = attention_groups(lengths[start:end] - shared, lengths[start:end], cost,
                                                   KEYS * batch_tokens)
        batches.append(_Batch(order[start:end], shared, groups))
        tokens += int(sizes[end - start - 1])
        flops += int(sizes[end - start - 1]) * cost.token + pairs * cost.pair + gathered * cost.key \
            + len(groups) * cost.call
        start = end
    return Plan(True, tokens, int(lengths.sum()), flops, rows, batches, cost)


def attention_groups(own: Ints, lengths: Ints, cost: Cost, most_keys: int) -> tuple[list[Ints], int, int]:
    """Rows (by place) that share an attention call: similar ones, until padding costs more than another call.

    Returns:
        The groups, and the pairs and keys that they compute.
    """
    groups: list[Ints] = []
    pairs = gathered = 0
    order = np.lexsort((-lengths, -own))
    order = order[own[order] > 0]
    start = 0
    while start < len(order):
        rest = order[start:]
        longest, count = np.maximum.accumulate(lengths[rest]), np.arange(1, len(rest) + 1)
        area = int(own[rest[0]]) * longest * count
        waste = area - np.cumsum(own[rest] * lengths[rest])
        fits = (waste * cost.pair <= cost.call) & (longest * count <= most_keys)
        end = len(rest) if fits.all() else max(1, int(fits.argmin()))
        groups.append(rest[:end])
        pairs, gathered = pairs + int(area[end - 1]), gathered + int(longest[end - 1]) * end
        start += end
    return groups, pairs, gathered


def _along_paths(rows: Sequence[EncodedRow], batch: _Batch, firsts: Ints, cost: Cost) -> ScoreBatch:
    """Lay a batch out along paths."""
    chosen = [rows[number] for number in batch.rows]
    paths: list[Ints] = []
    size = 0
    for row, shared in zip(chosen, batch.common, strict=True):
        new = len(row.ids) - int(shared)
        paths.append(np.concatenate([paths[-1][:shared], np.arange(size, size + new)]) if shared else
                     np.arange(size, size + new))
        size += new
    tags, tag_of_step = np.unique(np.concatenate([path[row.tag_positions] for path, row in
                                                  zip(paths, chosen, strict=True)]), return_inverse=True)
    groups = [PathGroup.of([paths[one][batch.common[one]:] for one in members], [paths[one] for one in members],
                           [np.arange(batch.common[one], len(paths[one])) + 1 for one in members])
              for members in batch.groups]
    asked: list[Ints] = []  # tags by row: one that several rows share is read by the first of them
    seen: list[Ints] = []
    known = np.zeros(len(tags), np.bool_)
    ends = np.cumsum([len(row.tag_positions) for row in chosen])
    for row, steps in zip(chosen, np.split(tag_of_step, ends[:-1]), strict=True):
        kept = ~known[steps]
        known[steps] = True
        asked.append(steps[kept])
        seen.append(row.tag_positions[kept] + 1)
    counts = np.array([len(one) for one in asked], np.int64)
    lengths = np.array([len(path) for path in paths], np.int64)
    tag_groups = [PathGroup.of([asked[one] for one in members], [paths[one] for one in members],
                               [seen[one] for one in members])
                  for members in attention_groups(counts, lengths, cost, KEYS * size)[0]]
    ids = np.concatenate([row.ids[shared:] for row, shared in zip(chosen, batch.common, strict=True)])
    positions = np.concatenate([np.arange(shared, len(row.ids)) for row, shared in
                                zip(chosen, batch.common, strict=True)])
    return ScoreBatch(ids[None], positions[None], groups, tag_groups, tags, tag_of_step.astype(np.int64, copy=False),
                      _steps(batch, firsts), len(chosen))


def _side_by_side(rows: Sequence[EncodedRow], batch: _Batch, firsts: Ints) -> ScoreBatch:
    """Lay a batch out with a row in each line, equal rows in the same; token 0 fills it up and is never read."""
    width = max(len(rows[number].ids) for number in batch.rows)
    lines = np.cumsum(batch.common == 0) - 1
    ids = np.zeros((int(lines[-1]) + 1, width), np.int64)
    for line, number in zip(lines, batch.rows, strict=True):
        ids[line, : len(rows[number].ids)] = rows[number].ids
    tags, tag_of_step = np.unique(np.concatenate([
        line * width + rows[number].tag_positions for line, number in zip(lines, batch.rows, strict=True)]),
        return_inverse=True)
    return ScoreBatch(ids, np.tile(np.arange(width, dtype=np.int64), (len(ids), 1)), None, None, tags,
                      tag_of_step.astype(np.int64, copy=False), _steps(batch, firsts), len(batch.rows))


def _steps(batch: _Batch, firsts: Ints) -> Ints:
    return np.concatenate([np.arange(firsts[number], firsts[number + 1]) for number in batch.rows])


def common_length(a: Ints, b: Ints) -> int:
    """How many leading tokens two rows share."""
    length = min(len(a), len(b))
    different = a[:length] != b[:length]
    first = int(different.argmax()) if length else 0
    return first if length and different[first] else length
