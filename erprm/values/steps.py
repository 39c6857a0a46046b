"""`Steps`: what is known about each step of many solutions, in flat arrays."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.rows import StepRow
from erprm.values.counts import Ints
from erprm.values.soft import Array


@dataclass(frozen=True, slots=True)
class Steps:
    """M steps of R solutions in flat arrays.

    Attributes:
        offsets: [R + 1] int64 into the per-step arrays.
        successes, trials: [M] integers; trials = 0 where a step has no counts.
        labels: [M] float64, NaN where a step has none.
        outcomes: [R] float64, NaN where a solution was not graded.
        ends: [R] bool, the last step is that of a finished, graded solution.
        rewards: [Q] float64, the rewards of completions of steps that have rewards instead of counts.
        reward_offsets: [M + 1] int64 into `rewards`.
    """

    offsets: Ints
    successes: npt.NDArray[np.integer]
    trials: npt.NDArray[np.integer]
    labels: Array
    outcomes: Array
    ends: npt.NDArray[np.bool_]
    rewards: Array
    reward_offsets: Ints

    @classmethod
    def of_rows(cls, rows: Sequence[StepRow]) -> Steps:
        """The steps of rows; what a row does not have is 0 trials, no rewards or NaN."""
        counts = [(0, 0) if row.successes is None or row.trials is None else (row.successes[step], row.trials[step])
                  for row in rows for step in range(len(row.steps))]
        k, n = np.array(counts, np.int64).reshape(-1, 2).T
        labels = [math.nan if row.labels is None or row.labels[step] is None else row.labels[step]
                  for row in rows for step in range(len(row.steps))]
        outcomes = np.array([math.nan if row.outcome is None else row.outcome for row in rows], np.float64)
        rewards = [() if row.rewards is None else row.rewards[step] for row in rows for step in range(len(row.steps))]
        return cls(np.cumsum([0, *(len(row.steps) for row in rows)]), k, n, np.array(labels, np.float64), outcomes,
                   np.array([row.finished for row in rows], bool) & ~np.isnan(outcomes),
                   np.array(list(itertools.chain.from_iterable(rewards)), np.float64),
                   np.cumsum([0, *map(len, rewards)]))

    @property
    def depths(self) -> Ints:
        """The number of each step within its solution, from 1, [M]."""
        return np.arange(1, len(self.trials) + 1) - np.repeat(self.offsets[:-1], np.diff(self.offsets))

    @property
    def last(self) -> Ints:
        """The steps whose value is their solution's outcome, one for each of `ends`."""
        return np.asarray(self.offsets[1:][self.ends] - 1)

    @property
    def estimated(self) -> npt.NDArray[np.bool_]:
        """[M]: steps whose value is estimated from counts."""
        estimated = np.asarray(self.trials > 0)
        estimated[self.last] = False
        return estimated

    @property
    def graded(self) -> npt.NDArray[np.bool_]:
        """[M]: steps that have rewards instead of counts, the ends of finished solutions aside."""
        graded = np.asarray(np.diff(self.reward_offsets) > 0)
        graded[self.last] = False
        return graded
