"""Does a scorer like length? Correlation of scores with length and step count, with problem and truth held.

    partial_correlation(scores, lengths, correct)                # Correlation(r, low, high)

Right solutions may well be shorter than wrong ones, and easy problems have short solutions; neither is the scorer's
bias. So scores and lengths are taken less their means over the candidates of the same problem and outcome, and
correlated over all problems: the partial correlation with problem and truth held. 0 is no bias; a product over steps is
biased downwards by step count, a mean hides late errors of long solutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.statistics.bootstrap import RESAMPLES
from erprm.values import Array


@dataclass(frozen=True, slots=True)
class Correlation:
    """A partial correlation with its 95 % bootstrap interval over problems."""

    r: float
    low: float
    high: float


def partial_correlation(scores: npt.ArrayLike, sizes: npt.ArrayLike, correct: npt.ArrayLike, seed: int = 0,
                        ) -> Correlation | None:
    """Of scores and sizes [P, N], within candidates of one problem and outcome; None where either never differs there.

    Raises:
        InputError: for shapes that differ.
    """
    score, size, truth = (np.asarray(values, np.float64) for values in (scores, sizes, correct))
    if score.ndim != 2 or score.shape != size.shape or score.shape != truth.shape:
        raise InputError(f"scores, sizes, correct: expected one shape [P, N], found {score.shape}, {size.shape} and "
                         f"{truth.shape}")
    sums = np.array([_sums(*row) for row in zip(score, size, truth, strict=True)])  # [P, 3]: xy, xx, yy
    total = sums.sum(axis=0)
    if total[1] <= 0 or total[2] <= 0:
        return None
    problems = len(sums)
    counts = np.random.default_rng(seed).multinomial(problems, np.full(problems, 1.0 / problems), RESAMPLES)
    xy, xx, yy = (counts @ sums).T
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without any difference says nothing
        low, high = np.nanquantile(xy / np.sqrt(xx * yy), [0.025, 0.975])
    return Correlation(float(total[0] / np.sqrt(total[1] * total[2])), float(low), float(high))


def _sums(score: Array, size: Array, truth: Array) -> tuple[float, float, float]:
    xy = xx = yy = 0.0
    for outcome in np.unique(truth):
        members = truth == outcome
        x, y = (values[members] - values[members].mean() for values in (score, size))
        xy, xx, yy = xy + float(x @ y), xx + float(x @ x), yy + float(y @ y)
    return xy, xx, yy
