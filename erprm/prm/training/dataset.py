"""Rows as flat arrays, from which batches are made; targets are looked up when a batch is made.

    dataset, report = encode_dataset(...)                          # erprm.prm.training.encode
    dataset.target_values(TargetSpec(kind="er", eta=2.0))          # [M] float64, NaN where a step has none

Counts are kept, not labels: a change of eta, estimator or kind needs no new encoding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.values import Steps
from erprm.values.spec import TargetSpec

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EncodedDataset:
    """R rows with N tokens and M steps in flat arrays, from which the collator makes batches.

    Attributes:
        ids: [N] int64.
        row_offsets: [R + 1] int64 into `ids`.
        tags: [M] int64, position of each step's tag within its row.
        step_offsets: [R + 1] int64 into the per-step arrays.
        successes, trials: [M] int32; trials = 0 where a step has no counts.
        labels: [M] float64, NaN where a step has none.
        outcomes: [R] float64, NaN where a solution was not graded.
        ends: [R] bool, the row ends with the last step of a finished, graded solution, whose value is its outcome.
        problems: [R] int64, equal for rows of one problem.
        rewards: [Q] float64, of completions of steps that have rewards instead of counts.
        reward_offsets: [M + 1] int64 into `rewards`.
        weights: [R] float64 above 0, how often each row counts.
    """

    ids: Ints
    row_offsets: Ints
    tags: Ints
    step_offsets: Ints
    successes: npt.NDArray[np.int32]
    trials: npt.NDArray[np.int32]
    labels: npt.NDArray[np.float64]
    outcomes: npt.NDArray[np.float64]
    ends: npt.NDArray[np.bool_]
    problems: Ints
    rewards: npt.NDArray[np.float64]
    reward_offsets: Ints
    weights: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.row_offsets) - 1

    @property
    def lengths(self) -> Ints:
        """[R] tokens of each row."""
        return np.diff(self.row_offsets)

    @property
    def step_weights(self) -> npt.NDArray[np.float32]:
        """[M] the weight of each step's row."""
        return np.repeat(self.weights, np.diff(self.step_offsets)).astype(np.float32)

    @property
    def steps(self) -> Steps:
        """The steps without their tokens."""
        return Steps(self.step_offsets, self.successes, self.trials, self.labels, self.outcomes, self.ends,
                     self.rewards, self.reward_offsets)

    def fitted(self, spec: TargetSpec) -> TargetSpec:
        """The targets, with a prior fitted to these counts if they want one."""
        return spec.fitted(self.steps)

    def target_values(self, spec: TargetSpec) -> npt.NDArray[np.float64]:
        """The target of every step, float64 [M], with several etas [M, H]; NaN where it has none."""
        return spec.of_steps(self.steps)

    def counts(self, ends: bool = False) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """(k, n) of every step, [M] int32 each; the end of a finished solution without counts has (outcome, 1).

        Args:
            ends: so have those with counts.

        Raises:
            InputError: for graded rewards, of which there are no counts.
        """
        if self.steps.graded.any() or (self.outcomes[self.ends] % 1.0).any():
            raise InputError("data: expected counts of right completions, found graded rewards; the beta_binomial loss "
                             "needs completions that are right or wrong")
        k, n = self.successes.copy(), self.trials.copy()
        last = self.steps.last
        bare = (n[last] == 0) | ends
        k[last[bare]], n[last[bare]] = np.round(self.outcomes[self.ends][bare]).astype(np.int32), 1
        return k, n

    def completions(self) -> tuple[npt.NDArray[np.float32], Ints]:
        """The rewards of every step's completions, [Q] float32, and offsets [M + 1] into them.

        Counts are written out as ones and zeros; the end of a finished solution has its outcome alone.
        """
        given = np.diff(self.reward_offsets)
        lengths = np.where(given > 0, given, self.trials).astype(np.int64)
        last = self.steps.last
        lengths[last] = 1
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        values = (ranges(np.zeros_like(lengths), lengths) < np.repeat(self.successes, lengths)).astype(np.float32)
        with_rewards = given > 0
        with_rewards[last] = False
        values[ranges(offsets[:-1][with_rewards], lengths[with_rewards])] = self.rewards[
            ranges(self.reward_offsets[:-1][with_rewards], lengths[with_rewards])]
        values[offsets[last]] = self.outcomes[self.ends]
        return values, offsets


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """start, start + 1, ... for each pair, one behind the other."""
    total = int(lengths.sum())
    result: Ints = np.arange(total) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return result
