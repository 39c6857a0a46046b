"""The order of rows in an epoch: shuffled, neighbours alike in length, or rows of a problem together.

The order depends on the seed, the epoch and the rows of an optimiser step, not on how a step is divided into processes
and micro-batches, so that every division trains on the same rows at the same step.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Dataset, Sampler

from erprm.prm.training.dataset import EncodedDataset, Ints


class RowSampler(Sampler[int]):
    """Row numbers of one epoch.

    Args:
        step_rows: rows in an optimiser step, over all processes and micro-batches.
        window: this many steps' rows are sorted by length together, then the steps are shuffled again; 1 sorts only
            within a step.
        group_rows: at least 2 keeps up to so many rows of one problem together (for shared prefixes).
    """

    def __init__(self, dataset: EncodedDataset, step_rows: int, *, window: int = 8, group_rows: int = 0,
                 seed: int = 0) -> None:
        self.dataset, self.step_rows, self.window, self.group_rows = dataset, step_rows, max(window, 1), group_rows
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order `iter` gives."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(len(self.dataset))
        order = self._grouped(order, random) if self.group_rows > 1 else self._by_length(order, random)
        return iter(order.tolist())

    def _by_length(self, order: Ints, random: np.random.Generator) -> Ints:
        lengths = self.dataset.lengths
        steps: list[Ints] = []
        span = self.step_rows * self.window
        for begin in range(0, len(order), span):
            part = order[begin: begin + span]
            part = part[np.argsort(lengths[part], kind="stable")]
            steps += [part[at: at + self.step_rows] for at in range(0, len(part), self.step_rows)]
        whole = [step for step in steps if len(step) == self.step_rows]
        rest = [step for step in steps if len(step) < self.step_rows]  # at most one: the remainder comes last
        return np.concatenate([whole[at] for at in random.permutation(len(whole))] + rest)

    def _grouped(self, order: Ints, random: np.random.Generator) -> Ints:
        together = order[np.argsort(self.dataset.problems[order], kind="stable")]
        problems = self.dataset.problems[together]
        place = np.arange(len(together))
        first = np.concatenate([[True], problems[1:] != problems[:-1]])
        within = place - np.maximum.accumulate(np.where(first, place, 0))
        groups = np.split(together, np.flatnonzero(within % self.group_rows == 0)[1:])
        return np.concatenate([groups[at] for at in random.permutation(len(groups))])


class RowNumbers(Dataset[int]):
    """0 .. R - 1 as a dataset; it passes the epoch on to the sampler however the data loader was wrapped."""

    def __init__(self, sampler: RowSampler) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __getitem__(self, row: int) -> int:
        return row

    def set_epoch(self, epoch: int) -> None:
        """See `RowSampler.set_epoch`."""
        self.sampler.set_epoch(epoch)
