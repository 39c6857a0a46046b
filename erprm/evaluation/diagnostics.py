"""What else a pool says of its scorers, beside accuracy against N: over-optimisation, length bias, what stopping saves.

    results |= diagnostics(groups, pool, curves, "min")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from erprm.evaluation.bias import partial_correlation
from erprm.evaluation.curves import Curves, Pool
from erprm.evaluation.overoptimisation import passed_over, turn_down
from erprm.evaluation.pools import Groups
from erprm.selection.adaptive import LEAST, LEVEL, WORTH, adaptive_by_problem, hoeffding_interval, summary
from erprm.selection.aggregate import aggregate_all
from erprm.statistics.bootstrap import paired_test
from erprm.steps import join_steps
from erprm.values import Array


def diagnostics(groups: Groups, pool: Pool, curves: Curves, aggregation: str, seed: int = 0) -> dict[str, Any]:
    """`over_optimisation`, `bias` and `adaptive` of evaluation.json, each by scorer.

    `over_optimisation`: `turn_down`, what is behind the peak of the curve, and `passed_over`; either may be None.
    `bias`: the partial correlation of the aggregated score with the solution's characters and with its steps.
    `adaptive`: where best-of-N would have stopped; the costs are characters, since rows hold no token counts.
    """
    characters = np.array([[len(join_steps(row.steps, gaps=row.gaps)) for row in rows] for rows in groups.rows], float)
    steps = np.array([[len(row.steps) for row in rows] for rows in groups.rows], float)
    found: dict[str, dict[str, Any]] = {"over_optimisation": {}, "bias": {}, "adaptive": {}}
    for name, scores in pool.scores.items():
        down, lost = turn_down(curves, name), passed_over(groups, pool, name)
        found["over_optimisation"][name] = {"turn_down": asdict(down) if down else None,
                                            "passed_over": lost.to_dict() if lost else None}
        correlations = {what: partial_correlation(scores, sizes, pool.correct, seed)
                        for what, sizes in (("characters", characters), ("steps", steps))}
        found["bias"][name] = {what: asdict(part) if part else None for what, part in correlations.items()}
        if scores.shape[1] > 1:
            found["adaptive"][name] = _adaptive(groups.ends, name, pool, aggregation, characters, seed)
    return found


def _adaptive(ends: Mapping[str, Any], name: str, pool: Pool, aggregation: str, cost: Array, seed: int,
              ) -> dict[str, Any]:
    scores = pool.scores[name]
    if name in ends:  # every aggregation rises with every step's score
        low, high = (np.array([aggregate_all([pair[side] for pair in candidates], aggregation)
                               for candidates in ends[name]]) for side in (0, 1))
        interval = "the model's own"
    else:
        low, high = hoeffding_interval(scores)
        interval = f"Hoeffding's at {LEVEL:.0%}, each score worth {WORTH} completions"
    found = adaptive_by_problem(scores, low, high, pool.correct, cost, least=LEAST, seed=seed)
    return summary(found) | {"interval": interval, "paired": asdict(paired_test(found.accuracy, found.full, seed=seed))}
