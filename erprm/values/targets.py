"""Training targets from counts: soft, hard, entropy-regularised, outcome, and temporal-difference targets.

    targets([0, 3, 16], [16, 16, 16], kind="hard")                        # 1[k >= 1]
    row_targets(row, kind="er", eta=2.0)                                  # one per step of a solution
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.rows import StepRow
from erprm.values.estimators import JEFFREYS, check_counts, soft_value
from erprm.values.priors import RatePrior
from erprm.values.soft import Array, check_eta, soft_mean

KINDS = ("outcome", "soft", "hard", "er", "labels")


def targets(successes: npt.ArrayLike, trials: npt.ArrayLike, kind: str = "er", eta: float = 2.0,
            estimator: str = "plug-in", *, threshold: float = 0.0, prior: tuple[float, float] | RatePrior = JEFFREYS,
            depths: npt.ArrayLike = 1) -> Array:
    """Training targets in [0, 1] from counts.

    Args:
        kind: "soft" k/n; "hard" 1[k/n > threshold] (Math-Shepherd at threshold 0); "er" V_eta, clipped to [0, 1].
        eta, estimator, prior, depths: for "er", as in `soft_value`.

    Raises:
        InputError: as `soft_value`, or for an unknown kind.
    """
    k, n = check_counts(successes, trials)
    if kind == "soft":
        return k / n
    if kind == "hard":
        return np.where(k / n > threshold, 1.0, 0.0)
    if kind == "er":
        return soft_value(k, n, eta, estimator, prior, depths=depths, clip=True)
    raise InputError(f"kind: expected soft, hard or er for counts, found {kind!r}")


def row_targets(row: StepRow, kind: str = "er", eta: float = 2.0, estimator: str = "plug-in", *,
                threshold: float = 0.0, prior: tuple[float, float] | RatePrior = JEFFREYS) -> Array:
    """The target of every step of one solution.

    Args:
        kind: "outcome" (every step gets the solution's own outcome: the ORM); "soft", "hard" or "er" from the counts,
            where the last step of a finished solution is exactly its outcome; "labels", the row's own labels.

    Returns:
        float64 [L]; NaN where a step has no target (no trial, or a null label).

    Raises:
        InputError: when the row lacks what the kind needs.
    """
    length = len(row.steps)
    if kind == "labels":
        if row.labels is None:
            raise InputError("labels: expected one label per step for kind 'labels', found none")
        return np.array([math.nan if label is None else label for label in row.labels])
    if kind == "outcome":
        if row.outcome is None:
            raise InputError("outcome: expected a graded solution for kind 'outcome', found none")
        return np.full(length, row.outcome)
    if kind not in KINDS:
        raise InputError(f"kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    if row.successes is None or row.trials is None:
        raise InputError(f"successes and trials: expected counts for kind {kind!r}, found none")
    k, n = np.array(row.successes), np.array(row.trials)
    known = n > 0
    result = np.full(length, math.nan)
    result[known] = targets(k[known], n[known], kind, eta, estimator, threshold=threshold, prior=prior,
                            depths=1 + np.flatnonzero(known))
    if row.finished and row.outcome is not None:
        result[-1] = row.outcome
    return result


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
