"""Training targets: of counts alone, of every step of many solutions, and temporal-difference targets.

    targets([0, 3, 16], [16, 16, 16], kind="hard")                        # 1[k >= 1]
    row_targets(row, kind="er", eta=2.0)                                  # one per step of a solution
    step_targets(Steps.of_rows(rows), kind="soft")                        # [M], of all at once

Here, and nowhere else, stands the rule for steps with counts: without a trial there is no target (NaN), and the last
step of a finished, graded solution is exactly its outcome.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.rows import StepRow
from erprm.values.counts import JEFFREYS, Ints, check_counts, distinct
from erprm.values.estimators import Prior, soft_value
from erprm.values.soft import Array, check_eta, soft_mean


@dataclass(frozen=True, slots=True)
class LabelKind:
    """What a step is trained towards.

    Attributes:
        about: one line for --help.
        needs: "counts", "outcome" or "labels", which a row must have.
    """

    about: str
    needs: str


KINDS = {
    "outcome": LabelKind("every step gets the solution's outcome (ORM)", "outcome"),
    "soft": LabelKind("k/n", "counts"),
    "hard": LabelKind("1 where k/n is above the threshold (Math-Shepherd)", "counts"),
    "er": LabelKind("the entropy-regularised value V_eta", "counts"),
    "labels": LabelKind("the rows' own labels", "labels"),
}


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
        """The steps of rows; what a row does not have is 0 trials or NaN."""
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


def targets(successes: npt.ArrayLike, trials: npt.ArrayLike, kind: str = "er", eta: float = 2.0,
            estimator: str = "plug-in", *, threshold: float = 0.0, prior: Prior = JEFFREYS,
            depths: npt.ArrayLike = 1) -> Array:
    """Training targets in [0, 1] from counts.

    Args:
        kind: "soft" k/n; "hard" 1[k/n > threshold] (Math-Shepherd at threshold 0); "er" V_eta, clipped to [0, 1].
        eta, estimator, prior, depths: for "er", as in `soft_value`.

    Raises:
        InputError: as `soft_value`, or for an unknown kind.
    """
    k, n = check_counts(successes, trials)
    of_counts: dict[str, Callable[[], Array]] = {
        "soft": lambda: k / n,
        "hard": lambda: np.where(k / n > threshold, 1.0, 0.0),
        "er": lambda: soft_value(k, n, eta, estimator, prior, depths=depths, clip=True)}
    if kind not in of_counts:
        raise InputError(f"kind: expected soft, hard or er for counts, found {kind!r}")
    return of_counts[kind]()


def step_targets(steps: Steps, kind: str = "er", eta: float = 2.0, estimator: str = "plug-in", *,
                 threshold: float = 0.0, prior: Prior = JEFFREYS) -> Array:
    """The target of every step, float64 [M]; NaN where it has none. One evaluation per distinct (k, n, depth).

    Args:
        kind: one of `KINDS`; the others as in `targets`.

    Raises:
        InputError: as `targets`.
    """
    if kind not in KINDS:
        raise InputError(f"kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    if kind == "labels":
        return steps.labels
    if kind == "outcome":
        return np.repeat(steps.outcomes, np.diff(steps.offsets))
    known = np.asarray(steps.trials > 0)
    depths = np.ones_like(steps.trials) if isinstance(prior, tuple) else steps.depths
    (k, n, depth), inverse = distinct(steps.successes[known], steps.trials[known], depths[known])
    values = np.full(len(steps.trials), np.nan)
    if len(k):
        values[known] = targets(k, n, kind, eta, estimator, threshold=threshold, prior=prior, depths=depth)[inverse]
    values[steps.last] = steps.outcomes[steps.ends]
    return values


def row_targets(row: StepRow, kind: str = "er", eta: float = 2.0, estimator: str = "plug-in", *,
                threshold: float = 0.0, prior: Prior = JEFFREYS) -> Array:
    """`step_targets` of one solution, float64 [L]. Raises InputError when the row lacks what the kind needs."""
    if kind not in KINDS:
        raise InputError(f"kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    needs = KINDS[kind].needs
    if needs == "labels" and row.labels is None:
        raise InputError("labels: expected one label per step for kind 'labels', found none")
    if needs == "outcome" and row.outcome is None:
        raise InputError("outcome: expected a graded solution for kind 'outcome', found none")
    if needs == "counts" and (row.successes is None or row.trials is None):
        raise InputError(f"successes and trials: expected counts for kind {kind!r}, found none")
    return step_targets(Steps.of_rows([row]), kind, eta, estimator, threshold=threshold, prior=prior)


def td_targets(values: npt.ArrayLike, horizon: int = 1, weight: float = 1.0, eta: float = 0.0) -> Array:
    """n-step temporal-difference targets along one solution (TDRM), without intermediate rewards.

    Because exp(eta V) is a martingale under the reference policy, the value `horizon` steps later is an estimate of the
    value now; it is mixed with the own estimate in the same domain:
    exp(eta y_l) = (1-w) exp(eta V_l) + w exp(eta V_{l+h}).

    Args:
        values: V_1..V_L of the steps, [L]; the last is the outcome of a finished solution.
        horizon: how many steps to look ahead; beyond the end it is the last value.
        weight: w in [0, 1].
        eta: the inverse temperature of `values`; 0 mixes linearly, as TDRM does.

    Returns:
        float64 [L].
    """
    v = np.asarray(values, np.float64)
    if v.ndim != 1 or v.size == 0:
        raise InputError(f"values: expected the values of at least one step [L], found shape {v.shape}")
    if horizon < 0 or not 0.0 <= weight <= 1.0:
        raise InputError(f"horizon, weight: expected horizon >= 0 and weight in [0, 1], found {horizon}, {weight}")
    check_eta(eta)
    later = v[np.minimum(np.arange(v.size) + horizon, v.size - 1)]
    return soft_mean(np.stack([v, later], axis=-1), eta, np.array([1.0 - weight, weight]))
