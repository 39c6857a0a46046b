"""The threshold that serves a benchmark best, among the hundredths between 0 and 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence

THRESHOLDS = tuple(number / 100 for number in range(1, 100))


def highest(thresholds: Sequence[float], value: Callable[[float], float]) -> float:
    """The threshold of the highest value; of several, the middle one, which has most room on other rows."""
    values = [value(threshold) for threshold in thresholds]
    best = [threshold for threshold, found in zip(thresholds, values, strict=True) if found == max(values)]
    return best[len(best) // 2]
