"""One score for a solution from the scores of its steps.

    aggregate([0.9, 0.4, 0.7], "min")           # 0.4: the weakest step decides
    aggregate_all([[0.9, 0.4], [0.8]], "last")  # [0.4, 0.8], one number per solution

With exact values V_eta, ranking by min, max or last step is the same for every eta, because V_eta is increasing in the
success rate; only product and mean depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.values import Array, soft_mean

AGGREGATIONS = ("min", "last", "product", "mean", "max", "soft_min")
SOFT_MIN_ETA = 10.0


def aggregate(step_scores: npt.ArrayLike, how: str = "min", eta: float = SOFT_MIN_ETA) -> Array:
    """Reduce the step scores of a solution to one number.

    Args:
        step_scores: [..., L], in [0, 1], the steps along the last axis, L >= 1.
        how: "min", "last", "product", "mean", "max", or "soft_min": -(1/eta) ln mean exp(-eta s).
        eta: the sharpness of "soft_min", positive; it goes from the mean (0) to the minimum (large).

    Returns:
        float64 [...].

    Raises:
        InputError: for an unknown `how`, no steps, or scores that are not finite.
    """
    scores = np.asarray(step_scores, np.float64)
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise InputError(f"step_scores: expected the scores of at least one step, found shape {scores.shape}")
    if not np.all(np.isfinite(scores)):
        raise InputError("step_scores: expected finite scores, found nan or inf")
    if how == "min":
        return np.asarray(scores.min(axis=-1))
    if how == "last":
        return np.asarray(scores[..., -1])
    if how == "product":
        return np.asarray(scores.prod(axis=-1))
    if how == "mean":
        return np.asarray(scores.mean(axis=-1))
    if how == "max":
        return np.asarray(scores.max(axis=-1))
    if how == "soft_min":
        return soft_mean(scores, -eta)
    raise InputError(f"how: expected one of {', '.join(AGGREGATIONS)}, found {how!r}")


def aggregate_all(solutions: Iterable[npt.ArrayLike], how: str = "min", eta: float = SOFT_MIN_ETA) -> Array:
    """`aggregate` for solutions of different lengths: float64, one number per solution."""
    return np.array([aggregate(scores, how, eta) for scores in solutions], np.float64)
