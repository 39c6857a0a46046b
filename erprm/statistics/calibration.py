"""Do step scores mean what they say? Brier score, calibration error, AUC and the reliability curve.

    result = calibrate(scores, k / n, name="er_eta_2")
    result.brier, result.ece, result.auc
    step_metrics(scores, targets, chances)         # {"step_auc": 0.81, "brier": 0.12, "calibration_error": 0.03}

The truth of a step is the share of completions that reached the right answer, or any value in [0, 1]; a fraction counts
as that share of a success and the rest of a failure. A PRM trained on V_eta predicts V_eta: compare its scores with
V_eta, or turn them into success rates first with `erprm.values.mean_of_soft`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.statistics.agreement import soft_auc
from erprm.values import Array


@dataclass(frozen=True, slots=True)
class Bin:
    """Steps that score in [low, high): how many, their mean score, their mean truth and its standard error."""

    low: float
    high: float
    count: int
    score: float
    truth: float
    error: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration of one PRM. `auc` is None when all steps are alike; empty bins are left out."""

    name: str
    count: int
    brier: float
    ece: float
    auc: float | None
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def calibrate(scores: npt.ArrayLike, truth: npt.ArrayLike, *, name: str = "", bins: int = 10) -> Calibration:
    """Compare step scores with the truth.

    Args:
        scores: [M], in [0, 1].
        truth: [M], in [0, 1].
        bins: equal-width bins of the reliability curve and of the expected calibration error.

    Raises:
        InputError: for shapes that differ, no steps, or values outside [0, 1].
    """
    s, v = _unit(scores, "scores"), _unit(truth, "truth")
    if s.shape != v.shape:
        raise InputError(f"scores and truth: expected equal lengths, found {s.size} and {v.size}")
    place = np.minimum((s * bins).astype(np.int64), bins - 1)
    found = []
    for index in np.unique(place):
        inside = place == index
        spread = float(v[inside].std(ddof=1)) if inside.sum() > 1 else 0.0
        found.append(Bin(float(index / bins), float((index + 1) / bins), int(inside.sum()), float(s[inside].mean()),
                         float(v[inside].mean()), spread / float(np.sqrt(inside.sum()))))
    ece = sum(part.count * abs(part.score - part.truth) for part in found) / s.size
    brier, auc = float(np.mean((s - v) ** 2)), soft_auc(s, v)
    return Calibration(name, int(s.size), brier, float(ece), None if np.isnan(auc) else auc, tuple(found))


def step_metrics(scores: Array, targets: Array, chances: Array) -> dict[str, float]:
    """What is measured of M scored steps on held-out rows while a PRM trains.

    Args:
        scores: [M] in [0, 1].
        targets: [M] in [0, 1], what the model was trained towards; Brier score and calibration error are against these.
        chances: [M] in [0, 1], the chance that a completion from the step succeeds; the AUC is against these.
    """
    found = calibrate(scores, targets)
    return {"step_auc": soft_auc(scores, chances), "brier": found.brier, "calibration_error": found.ece}


def _unit(values: npt.ArrayLike, name: str) -> Array:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{name}: expected one number per step [M], at least one, found shape {array.shape}")
    if not np.all((array >= 0) & (array <= 1)):
        raise InputError(f"{name}: expected numbers in [0, 1]")
    return array
