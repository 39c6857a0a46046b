"""What is measured on held-out rows while a PRM trains: step AUC, Brier score, calibration error, best-of-N.

    step_metrics(scores, targets, chances)         # {"step_auc": 0.81, "brier": 0.12, "calibration_error": 0.03}
    pool_accuracy(scores, offsets, outcomes, problems)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def step_metrics(scores: Array, targets: Array, chances: Array) -> dict[str, float]:
    """Of M scored steps.

    Args:
        scores: [M] in [0, 1].
        targets: [M] in [0, 1], what the model was trained towards; Brier score and calibration error are against these.
        chances: [M] in [0, 1], the chance that a completion from the step succeeds; the AUC is against these.
    """
    return {"step_auc": soft_auc(scores, chances), "brier": float(np.mean((scores - targets) ** 2)),
            "calibration_error": calibration_error(scores, targets)}


def soft_auc(scores: Array, chances: Array) -> float:
    """The chance that a succeeding completion comes from a higher-scored step than a failing one, ties counted half.

    Every step stands for one success of weight p and one failure of weight 1 - p; with p in {0, 1} this is the usual
    AUC. NaN when there is no success or no failure at all.
    """
    levels, index = np.unique(scores, return_inverse=True)
    wins = np.bincount(index.ravel(), chances, len(levels))
    losses = np.bincount(index.ravel(), 1.0 - chances, len(levels))
    total = wins.sum() * losses.sum()
    if total == 0:
        return float("nan")
    below = np.cumsum(losses) - losses
    return float(np.dot(wins, below + 0.5 * losses) / total)


def calibration_error(scores: Array, targets: Array, bins: int = 10) -> float:
    """Mean distance between average score and average target over `bins` equal-width bins of the score."""
    which = np.minimum((scores * bins).astype(np.int64), bins - 1)
    gaps = np.abs(np.bincount(which, scores - targets, bins))
    return float(gaps.sum() / len(scores))


def pool_accuracy(scores: Array, offsets: npt.NDArray[np.int64], outcomes: Array, problems: npt.NDArray[np.int64],
                  ) -> dict[str, float]:
    """Best-of-N over the graded rows of each problem, by the minimum over steps; ties are shared evenly.

    Args:
        scores: [M], offsets: [R + 1] into it; rows with a NaN score are left out.
        outcomes: [R], NaN where a row was not graded.
        problems: [R], equal for rows of one problem.

    Returns:
        "best_of_n", the accuracy of the chosen rows, and "mean_of_n", that of a row drawn at random, over problems with
        at least two graded rows; empty when there is none.
    """
    lowest = np.minimum.reduceat(scores, offsets[:-1]) if len(outcomes) else scores
    chosen: list[float] = []
    drawn: list[float] = []
    usable = ~np.isnan(lowest) & ~np.isnan(outcomes)
    order = np.flatnonzero(usable)[np.argsort(problems[usable], kind="stable")]
    cuts = np.flatnonzero(np.diff(problems[order])) + 1
    for rows in np.split(order, cuts):
        if len(rows) > 1:
            chosen.append(float(np.mean(outcomes[rows[lowest[rows] == lowest[rows].max()]])))
            drawn.append(float(np.mean(outcomes[rows])))
    return {"best_of_n": float(np.mean(chosen)), "mean_of_n": float(np.mean(drawn))} if chosen else {}
