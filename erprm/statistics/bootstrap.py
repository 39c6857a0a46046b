"""How sure a number is: bootstrap intervals over problems and paired tests on the same problems.

    low, high = bootstrap_interval(by_problem)              # of the mean over problems
    result = paired_test(er_by_problem, soft_by_problem)    # difference, interval, p
    kept = holm([result.p for result in results])           # p-values corrected for how many were asked

Problems are the unit: candidates of one problem are not independent. Everything is deterministic in the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.values import Array

RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class PairedResult:
    """The mean of a - b over problems with its bootstrap interval and the two-sided p-value of no difference."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two selectors by name, at `n` candidates, on the same problems; positive differences favour `first`."""

    first: str
    second: str
    n: int
    result: PairedResult


def bootstrap_interval(by_problem: npt.ArrayLike, level: float = 0.95, seed: int = 0,
                       resamples: int = RESAMPLES) -> tuple[Array, Array]:
    """Percentile interval of the mean over problems.

    Args:
        by_problem: [P] or [P, K]; the K columns are resampled together.
        level: the probability inside.

    Returns:
        (low, high), float64 scalars or [K].
    """
    values = _problems(by_problem, "by_problem")
    if not 0.0 < level < 1.0:
        raise InputError(f"level: expected a number between 0 and 1, found {level}")
    size = values.shape[0]
    counts = np.random.default_rng(seed).multinomial(size, np.full(size, 1.0 / size), resamples)
    means = counts @ values / size
    tail = 0.5 * (1.0 - level)
    low, high = np.quantile(means, [tail, 1.0 - tail], axis=0)
    return np.asarray(low), np.asarray(high)


def paired_test(first: npt.ArrayLike, second: npt.ArrayLike, level: float = 0.95, seed: int = 0,
                resamples: int = RESAMPLES) -> PairedResult:
    """Compare two selectors on the same problems.

    The interval is the bootstrap's; p comes from flipping the sign of each problem's difference at random, which is
    exact under "no difference" but for the number of draws (the smallest p it can give is 1 / (resamples + 1)).

    Args:
        first, second: [P], the expected correctness of each selector per problem.
    """
    a, b = _problems(first, "first"), _problems(second, "second")
    if a.ndim != 1 or a.shape != b.shape:
        raise InputError(f"first and second: expected equal shapes [P], found {a.shape} and {b.shape}")
    gaps = a - b
    low, high = bootstrap_interval(gaps, level, seed, resamples)
    signs = np.random.default_rng((seed, 1)).integers(0, 2, (resamples, gaps.size), dtype=np.int8) * 2 - 1
    observed = abs(gaps.sum())
    as_far = np.abs(signs @ gaps) >= observed - 1e-12 * max(observed, 1.0)  # sums in another order may differ by an ulp
    return PairedResult(float(gaps.mean()), float(low), float(high), float((as_far.sum() + 1) / (resamples + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values that hold for all comparisons together, in the given order."""
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = running
    return corrected


def _problems(values: npt.ArrayLike, name: str) -> Array:
    array = np.asarray(values, np.float64)
    if array.ndim == 0 or array.shape[0] == 0:
        raise InputError(f"{name}: expected one value per problem, at least one, found shape {array.shape}")
    if not np.all(np.isfinite(array)):
        raise InputError(f"{name}: expected finite values, found nan or inf")
    return array
