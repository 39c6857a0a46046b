"""Over-optimisation: does a curve turn down with N beyond noise, and which step's score let the right solution lose?

    found = turn_down(curves, "soft")                    # peak, drop with interval, corrected p
    lost = passed_over(groups, pool, "soft")             # right solutions that a wrong one outscored

Best-of-N is at most KL = ln N - (N - 1) / N nats away from the policy, the axis on which curves of different N compare
(arXiv 2210.10760). The peak is chosen by looking, so the drop behind it is tested for every N at once (Holm).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from erprm.evaluation.curves import Curves, Pool
from erprm.evaluation.pools import Groups
from erprm.statistics.bootstrap import holm, paired_test

SIGNIFICANCE = 0.05
_EXAMPLES = 20


def kl_of(n: int) -> float:
    """The divergence of best-of-n from the policy in nats, at most."""
    return math.log(n) - (n - 1) / n


@dataclass(frozen=True, slots=True)
class TurnDown:
    """A curve behind its peak.

    Attributes:
        peak, last: the N of the highest accuracy and the largest N; kl_peak, kl_last: in nats.
        drop, low, high: accuracy at the peak less that at the end, with its bootstrap interval over problems.
        p: of no difference, corrected for having looked at every N.
        beyond_noise: the drop is positive and p below 5 %.
    """

    peak: int
    last: int
    kl_peak: float
    kl_last: float
    drop: float
    low: float
    high: float
    p: float
    beyond_noise: bool


def turn_down(curves: Curves, name: str) -> TurnDown | None:
    """Of one selector; None where its largest N is its best."""
    values = curves.by_problem[name]
    means = values.mean(axis=0)
    peak = int(means.argmax())
    if peak == len(means) - 1:
        return None
    tests = [paired_test(values[:, place], values[:, -1], curves.level, curves.seed)
             for place in range(len(means) - 1)]
    p, found = holm([test.p for test in tests])[peak], tests[peak]
    first, last = curves.ns[peak], curves.ns[-1]
    return TurnDown(first, last, kl_of(first), kl_of(last), found.difference, found.low, found.high, p,
                    found.difference > 0 and p < SIGNIFICANCE)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Problems whose best-scored solution is wrong although another one is right.

    Attributes:
        problems: how many.
        margin: mean of the winner's score less that of the best right solution.
        where: share of these right solutions whose lowest-scored step is in the first, middle and last third.
        examples: the first ones: problem, right solution, its lowest step (from 1) with score, and the winner.
    """

    problems: int
    margin: float
    where: tuple[float, float, float]
    examples: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """As in evaluation.json."""
        return asdict(self)


def passed_over(groups: Groups, pool: Pool, name: str) -> PassedOver | None:
    """Of one scorer; None where no right solution lost to a wrong one."""
    margins, thirds, examples = [], [], []
    for rows, steps, correct, scores in zip(groups.rows, groups.scores[name], pool.correct, pool.scores[name],
                                            strict=True):
        winner = int(scores.argmax())
        right = np.flatnonzero(correct > 0.5)
        if correct[winner] > 0.5 or not len(right):
            continue
        best = int(right[scores[right].argmax()])
        lowest = int(np.argmin(steps[best]))
        margins.append(float(scores[winner] - scores[best]))
        thirds.append(min(2, 3 * lowest // len(steps[best])))
        examples.append({"problem": rows[best].problem_key, "right": rows[best].solution_id, "step": lowest + 1,
                         "steps": len(steps[best]), "score": float(steps[best][lowest]),
                         "winner": rows[winner].solution_id, "winner_score": float(scores[winner])})
    if not margins:
        return None
    shares = np.bincount(thirds, minlength=3) / len(thirds)
    return PassedOver(len(margins), float(np.mean(margins)), (float(shares[0]), float(shares[1]), float(shares[2])),
                      tuple(examples[:_EXAMPLES]))
