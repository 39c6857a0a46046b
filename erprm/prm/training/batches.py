"""Rows into batches: the layout of tokens, tag positions and targets, all known on the host.

    collator = Collator(dataset, TargetSpec(kind="er", eta=2.0), layout="padded", pad_id=0)
    batch = collator([4, 17, 23])                     # tensors for PRM.forward

Layouts (see `erprm.prm.attention.spans`):

- "padded" [B, T]: one row each, padded on the right.
- "packed" [1, N] with `cu_seqlens`: the rows one behind the other.
- "binned" [B, T]: several rows in each batch row under a block-diagonal mask.
- "shared" [B, T]: the same, with the rows of one problem as a prefix tree in depth-first order. What rows share stands
  once; a token's position is its depth, as in the separate row, and it is seen by exactly its subtree, a contiguous
  span. So every row gets the hidden states of its own separate forward, and the loss over all rows the same gradient.

Positions count from 0 in every row; tags are flat positions in [B T], ascending.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from erprm._core import first_fit_decreasing, pack_rows, prefix_tree
from erprm.errors import InputError
from erprm.prm.attention.blocks import MULTIPLE, block_table
from erprm.prm.training.dataset import EncodedDataset, Ints, ranges
from erprm.prm.training.learnt import LEARNT, combine
from erprm.values.spec import TargetSpec

LAYOUTS = ("padded", "packed", "binned", "shared")


@dataclass(frozen=True, slots=True)
class _Placed:
    """Tokens laid out in [B, T], and where each token of each row stands.

    Attributes:
        ids, positions: [B, T] int64.
        places: [N] int64, the flat place of every token of the rows, row after row.
        ends: [B, T] int32 or None; cu_seqlens: [S + 1] int32 or None.
    """

    ids: Ints
    positions: Ints
    places: Ints
    ends: npt.NDArray[np.int32] | None = None
    cu_seqlens: npt.NDArray[np.int32] | None = None
    longest: int | None = None


class Collator:
    """Callable on a list of row numbers; see the module.

    Args:
        target: which targets the steps of a batch have; may be replaced between batches.
        layout: one of `LAYOUTS`.
        pad_id: the id at unused places; never seen by a row.
        learnt: what the batch carries of them, one of `LEARNT`.
        flex: bins are attended to by FlexAttention: their length is a multiple of `MULTIPLE`, and the table of blocks
            comes with them.
        capacity: tokens of a bin for "binned" and "shared"; bins are never shorter than the longest row or tree.
    """

    def __init__(self, dataset: EncodedDataset, target: TargetSpec, *, layout: str = "padded", pad_id: int = 0,
                 learnt: str = "targets", capacity: int = 0, flex: bool = False) -> None:
        if layout not in LAYOUTS:
            raise InputError(f"layout: expected one of {', '.join(LAYOUTS)}, found {layout!r}")
        self.dataset, self.layout, self.pad_id, self.capacity = dataset, layout, pad_id, capacity
        self.learnt, self.flex = learnt, flex
        self._weights = None if (dataset.weights == 1.0).all() else dataset.step_weights
        self.target = target

    @property
    def target(self) -> TargetSpec:
        """The targets that batches carry."""
        return self._target

    @target.setter
    def target(self, target: TargetSpec) -> None:
        self._target = target
        self._targets = LEARNT["targets"](self.dataset, target)
        self._gather = self._targets if self.learnt == "targets" else LEARNT[self.learnt](self.dataset, target)
        values = self.dataset.target_values(target)
        self._known = ~np.isnan(values if values.ndim == 1 else values[:, 0])

    def __call__(self, rows: Sequence[int]) -> dict[str, Tensor | int]:
        """The batch of these rows, labelled steps only."""
        return self.batch(rows)[0]

    def batch(self, rows: Sequence[int], every_step: bool = False) -> tuple[dict[str, Tensor | int], Ints]:
        """The batch, and for each of its M steps the number of that step in the dataset.

        Args:
            every_step: also the steps without a target, whose label is then NaN (for scoring).
        """
        data = self.dataset
        chosen = np.asarray(rows, np.int64)
        if self.layout == "shared":
            chosen = chosen[np.argsort(data.problems[chosen], kind="stable")]
        ids, positions, offsets, tags = pack_rows(data.ids, data.row_offsets, data.tags, data.step_offsets, chosen)
        steps = ranges(data.step_offsets[chosen], data.step_offsets[chosen + 1] - data.step_offsets[chosen])
        if not every_step:
            known = self._known[steps]
            steps, tags = steps[known], tags[known]
        placed = self._place(chosen, ids, positions, offsets)
        tags = placed.places[tags]
        unique, tag_of_step = np.unique(tags, return_inverse=True)
        if len(unique) == len(tags):  # each step has its own tag: put the steps into the order of the tags
            steps = steps[np.argsort(tags, kind="stable")]
        batch: dict[str, Tensor | int] = {
            "input_ids": torch.from_numpy(placed.ids), "position_ids": torch.from_numpy(placed.positions),
            "tag_positions": torch.from_numpy(unique)}
        learnt = self._gather(steps)
        if self._weights is not None:
            learnt["weights"] = self._weights[steps]
        if len(unique) < len(tags):
            batch["tag_of_step"] = torch.from_numpy(tag_of_step)
            learnt = combine(learnt, tag_of_step, None if self.learnt == "draws" else lambda: self._targets(steps))
        batch |= {name: torch.from_numpy(values) for name, values in learnt.items()}
        if placed.ends is not None:
            batch["ends"] = torch.from_numpy(placed.ends)
            if self.flex:
                batch["mask_blocks"] = torch.from_numpy(block_table(placed.ends))
        if placed.cu_seqlens is not None and placed.longest is not None:
            batch["cu_seqlens"], batch["max_length"] = torch.from_numpy(placed.cu_seqlens), placed.longest
        return batch, steps

    def _place(self, chosen: Ints, ids: Ints, positions: Ints, offsets: npt.NDArray[np.int32]) -> _Placed:
        """Lay rows that stand one behind the other out; row r is offsets[r]:offsets[r + 1] of `ids`."""
        begins = offsets.astype(np.int64)
        lengths = np.diff(begins)
        if self.layout == "packed":
            return _Placed(ids[None], positions[None], np.arange(len(ids)), None, offsets, int(lengths.max()))
        if self.layout == "padded":
            count, width = len(lengths), int(lengths.max())
            places = np.repeat(np.arange(count) * width, lengths) + positions
            return self._fill(count, width, places, ids, positions)
        if self.layout == "binned":
            return self._bins(lengths, ids, positions, np.repeat(lengths, lengths), np.arange(len(ids)))
        first = np.flatnonzero(np.diff(self.dataset.problems[chosen], prepend=-1))  # of each problem's rows
        trees = [prefix_tree(ids[begins[low]: begins[high]], begins[low: high + 1] - begins[low])
                 for low, high in zip(first, [*first[1:], len(chosen)], strict=True)]
        sizes = np.array([len(tree["input_ids"]) for tree in trees], np.int64)
        before = np.cumsum(sizes) - sizes
        return self._bins(sizes, np.concatenate([tree["input_ids"] for tree in trees]),
                          np.concatenate([tree["position_ids"] for tree in trees]),
                          np.concatenate([tree["ends"] for tree in trees]),
                          np.concatenate([tree["token_of"] + at for tree, at in zip(trees, before, strict=True)]))

    def _bins(self, sizes: Ints, ids: Ints, positions: Ints, ends: Ints, node_of_token: Ints) -> _Placed:
        """Units (rows or trees) of `sizes` tokens into bins; `ends` count from each unit's beginning."""
        bins, count = first_fit_decreasing(sizes, max(min(self.capacity, len(ids)), int(sizes.max())))
        order = np.argsort(bins, kind="stable")
        before = np.cumsum(sizes[order]) - sizes[order]
        bin_begins = np.searchsorted(bins[order], np.arange(count))
        offsets = np.empty_like(sizes)
        offsets[order] = before - before[bin_begins][bins[order]]
        width = int((offsets + sizes).max())
        width = -(-width // MULTIPLE) * MULTIPLE if self.flex else width
        shift = np.repeat(offsets, sizes)
        places = np.repeat(bins * width + offsets, sizes) + ranges(np.zeros_like(sizes), sizes)
        placed = self._fill(count, width, places, ids, positions)
        all_ends = np.tile(np.arange(1, width + 1, dtype=np.int32), count)
        all_ends[places] = ends + shift
        return _Placed(placed.ids, placed.positions, places[node_of_token], all_ends.reshape(count, width))

    def _fill(self, count: int, width: int, places: Ints, ids: Ints, positions: Ints) -> _Placed:
        filled = np.full(count * width, self.pad_id, np.int64)
        filled[places] = ids
        where = np.tile(np.arange(width), count)  # padding counts on, so that no position restarts within a row
        where[places] = positions
        return _Placed(filled.reshape(count, width), where.reshape(count, width), places)
