"""One score for a solution from the scores of its steps.

    aggregate([0.9, 0.4, 0.7], "min")           # 0.4: the weakest step decides
    aggregate_all([[0.9, 0.4], [0.8]], "last")  # [0.4, 0.8], one number per solution

With exact values V_eta, ranking by min, max or last step is the same for every eta, because V_eta is increasing in the
success rate; only product and mean depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.values import Array, soft_mean

SOFT_MIN_ETA = 10.0


@dataclass(frozen=True, slots=True)
class Aggregation:
    """A way to reduce the step scores [..., L] of a solution to one number [...]; `eta` is soft_min's sharpness.

    `decides` finds the step, from 0, on which the number depends most, or that holds it down.
    """

    help: str
    reduce: Callable[[Array, float], npt.ArrayLike]
    decides: Callable[[Array], np.intp] = np.argmin


AGGREGATIONS = {
    "min": Aggregation("the weakest step", lambda scores, eta: scores.min(axis=-1)),
    "last": Aggregation("the last step", lambda scores, eta: scores[..., -1],
                        lambda scores: np.intp(len(scores) - 1)),
    "product": Aggregation("all steps as if independent", lambda scores, eta: scores.prod(axis=-1)),
    "mean": Aggregation("the average step", lambda scores, eta: scores.mean(axis=-1)),
    "max": Aggregation("the strongest step", lambda scores, eta: scores.max(axis=-1), np.argmax),
    "soft_min": Aggregation("between mean and min", lambda scores, eta: soft_mean(scores, -eta)),
}


def aggregate(step_scores: npt.ArrayLike, aggregation: str = "min", eta: float = SOFT_MIN_ETA) -> Array:
    """Reduce the step scores of a solution to one number.

    Args:
        step_scores: [..., L], in [0, 1], the steps along the last axis, L >= 1.
        aggregation: "min", "last", "product", "mean", "max", or "soft_min": -(1/eta) ln mean exp(-eta s).
        eta: the sharpness of "soft_min", positive; it goes from the mean (0) to the minimum (large).

    Returns:
        float64 [...].

    Raises:
        InputError: for an unknown aggregation, no steps, or scores that are not finite.
    """
    scores = np.asarray(step_scores, np.float64)
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise InputError(f"step_scores: expected the scores of at least one step, found shape {scores.shape}")
    if not np.all(np.isfinite(scores)):
        raise InputError("step_scores: expected finite scores, found nan or inf")
    if aggregation not in AGGREGATIONS:
        raise InputError(f"aggregation: expected one of {', '.join(AGGREGATIONS)}, found {aggregation!r}")
    return np.asarray(AGGREGATIONS[aggregation].reduce(scores, eta), np.float64)


def deciding_step(step_scores: npt.ArrayLike, aggregation: str = "min") -> int:
    """The step, from 0, that decides the aggregated score; of several such the first.

    The weakest step for every aggregation but "last" and "max".

    Raises:
        InputError: as `aggregate`.
    """
    aggregate(step_scores, aggregation)
    return int(AGGREGATIONS[aggregation].decides(np.asarray(step_scores, np.float64)))


def aggregate_all(solutions: Iterable[npt.ArrayLike], aggregation: str = "min", eta: float = SOFT_MIN_ETA) -> Array:
    """`aggregate` for solutions of different lengths: float64, one number per solution."""
    return np.array([aggregate(scores, aggregation, eta) for scores in solutions], np.float64)
