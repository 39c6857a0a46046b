"""Do step scores agree with what becomes of the steps? The area under the curve, of fractions too.

    soft_auc(scores, k / n)                        # 0.81
"""

from __future__ import annotations

import numpy as np

from erprm.values import Array


def soft_auc(scores: Array, chances: Array) -> float:
    """The chance that a succeeding completion comes from a higher-scored step than a failing one, ties counted half.

    Args:
        scores: [M].
        chances: [M] in [0, 1], the share of completions that succeed.

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
