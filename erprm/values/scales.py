"""What a model's scores estimate: V_eta itself, or a success rate of which V_eta is taken.

    soft_values([0.2, 0.9], eta=2.0, scores_are="mean")          # g_2(0.2), g_2(0.9)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.values.soft import Array, soft_of_mean

SCORES_ARE = {"value": "V_eta", "mean": "the success rate"}


def soft_values(scores: npt.ArrayLike, eta: float, scores_are: str = "value") -> Array:
    """V_eta of scores.

    Args:
        scores: any shape.
        eta: inverse temperature, finite.
        scores_are: one of `SCORES_ARE`. "value": they are V_eta already (a model trained on it); "mean": success rates
            p in [0, 1], which become ln(1 - p + p e^eta) / eta.

    Returns:
        float64, the shape of `scores`.

    Raises:
        InputError: for an unknown scale, or success rates outside [0, 1].
    """
    check_scores_are(scores_are)
    given = np.asarray(scores, np.float64)
    if scores_are == "value":
        return given
    outside = ~((given >= 0) & (given <= 1))
    if outside.any():
        raise InputError(f"scores: expected success rates in [0, 1], found {given[outside].flat[0]}")
    return soft_of_mean(given, eta)


def check_scores_are(scores_are: str) -> None:
    """Raises InputError unless it is one of `SCORES_ARE`."""
    if scores_are not in SCORES_ARE:
        raise InputError(f"scores_are: expected {' or '.join(SCORES_ARE)}, found {scores_are!r}")
