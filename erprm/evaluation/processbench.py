"""ProcessBench (arXiv 2412.06559): does a PRM find the first wrong step of a solution, and let right ones pass?

    rows = list(read("gsm8k.jsonl", "processbench"))
    result = evaluate_processbench(rows, scorer.score(rows), threshold=0.5)
    result.f1, result.wrong_accuracy, result.right_accuracy

A solution's prediction is its first step that scores below the threshold, or "no error". The benchmark's number is the
harmonic mean of the accuracies on wrong and on right solutions. PRMs need a threshold; `best_threshold` finds one, to
be used on other rows than those it was found on (the authors take GSM8K's for all subsets).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.evaluation.thresholds import THRESHOLDS, highest
from erprm.rows import StepRow
from erprm.statistics.bootstrap import RESAMPLES

StepScores = Sequence[npt.NDArray[np.floating]]


@dataclass(frozen=True, slots=True)
class ProcessBenchResult:
    """F1 with its 95 % bootstrap interval over solutions, and the two accuracies that it joins."""

    threshold: float
    f1: float
    low: float
    high: float
    wrong_accuracy: float
    right_accuracy: float
    wrong: int
    right: int


def first_wrong(row: StepRow) -> int:
    """The index of the first step labelled 0; -1 when there is none."""
    if row.labels is None:
        raise InputError(f"ProcessBench row {row.solution_id!r}: expected labels, found none")
    return next((index for index, label in enumerate(row.labels) if label == 0.0), -1)


def first_below(scores: npt.NDArray[np.floating], threshold: float) -> int:
    """The index of the first score below the threshold; -1 when there is none."""
    below = scores < threshold
    return int(below.argmax()) if below.any() else -1


def evaluate_processbench(rows: Sequence[StepRow], scores: StepScores, threshold: float = 0.5,
                          seed: int = 0) -> ProcessBenchResult:
    """Evaluate step scores at a fixed threshold.

    Raises:
        InputError: when there are no wrong or no right solutions, or scores that do not match the steps.
    """
    truth, hit = _hits(rows, scores, threshold)
    wrong = truth >= 0
    if not wrong.any() or wrong.all():
        raise InputError(f"ProcessBench: expected right and wrong solutions, found {wrong.sum()} wrong of {wrong.size}")
    counts = np.random.default_rng(seed).multinomial(wrong.size, np.full(wrong.size, 1.0 / wrong.size), RESAMPLES)
    with np.errstate(invalid="ignore"):  # a resample without one kind has no F1 and is left out
        joint = _harmonic((counts @ (hit & wrong)) / (counts @ wrong), (counts @ (hit & ~wrong)) / (counts @ ~wrong))
    low, high = np.nanquantile(joint, [0.025, 0.975])
    on_wrong, on_right = float(hit[wrong].mean()), float(hit[~wrong].mean())
    f1 = float(_harmonic(np.array(on_wrong), np.array(on_right)))
    return ProcessBenchResult(threshold, f1, float(low), float(high), on_wrong, on_right, int(wrong.sum()),
                              int((~wrong).sum()))


def best_threshold(rows: Sequence[StepRow], scores: StepScores) -> float:
    """The threshold among `THRESHOLDS` with the highest F1, the middle one of equals."""
    wrong = np.array([first_wrong(row) for row in rows]) >= 0

    def f1(threshold: float) -> float:
        _, hit = _hits(rows, scores, threshold)
        return float(_harmonic(np.array(hit[wrong].mean()), np.array(hit[~wrong].mean())))

    return highest(THRESHOLDS, f1)


def _hits(rows: Sequence[StepRow], scores: StepScores, threshold: float,
          ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    if not rows:
        raise InputError("ProcessBench: expected at least one row, found none")
    for row, given in zip(rows, scores, strict=True):
        if len(given) != len(row.steps):
            raise InputError(f"ProcessBench row {row.solution_id!r}: expected {len(row.steps)} scores, "
                             f"found {len(given)}")
    truth = np.array([first_wrong(row) for row in rows])
    return truth, np.array([first_below(given, threshold) for given in scores]) == truth


def _harmonic(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    total = a + b
    return np.asarray(2 * a * b / np.where(total == 0, 1.0, total))
