"""What is measured of a trained reward model, from the scores that it gave three pools.

    columns, pool = measured({"validation": rows, "pool": rows, "wide": rows}, Learnt.of("er@2"))

On the validation pool the aggregation of step scores is chosen, and the Bellman residual taken. Calibration is that of
every step in the held-out pool: its solutions are draws of the policy, so that a step's success rate is the mean
outcome of the solutions that go on from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from erprm.demo.outcome import NS, best_aggregations
from erprm.evaluation.bellman import bellman_residual
from erprm.evaluation.curves import Pool
from erprm.evaluation.pools import group_by_problem, pool_of
from erprm.rows import StepRow, row_scores
from erprm.selection import best_of_n_by_problem, majority_by_problem, pass_at_n_by_problem
from erprm.statistics.calibration import calibrate
from erprm.study.cells import Column, Learnt
from erprm.values import Array, mean_of_soft

ETA = 2.0  # of the residual
Scored = Mapping[str, Sequence[StepRow]]  # by reward


def measured(pools: Mapping[str, Scored], learnt: Learnt) -> tuple[dict[str, Column], dict[str, float]]:
    """(by reward, the held-out pool without any), as in a `Result`.

    Args:
        pools: "validation", "pool" and "wide", each with all rewards of one training.

    Raises:
        InputError: for a pool that has not equally many solutions to each problem.
    """
    groups = {name: group_by_problem(dict(scored)) for name, scored in pools.items()}
    chosen = best_aggregations(groups["validation"])
    narrow, wide = pool_of(groups["pool"], chosen), pool_of(groups["wide"], chosen)
    found = {}
    for name, aggregation in chosen.items():
        _, several, eta = name.partition("/")
        rates = {split: [_success_rates(row, learnt, float(eta) if several else learnt.eta) for row in scored[name]]
                 for split, scored in pools.items() if split != "wide"}
        (ns, values), (wide_ns, of_wide) = _best_of_n(narrow, name), _best_of_n(wide, name)
        found[name] = Column(aggregation, ns, tuple(np.round(values.mean(axis=0), 6).tolist()), values[:, -1], wide_ns,
                             of_wide, _calibration(pools["pool"][name], rates["pool"])
                             | _residual(pools["validation"][name], rates["validation"]))
    size = narrow.correct.shape[1]
    return found, {"pass@1": float(narrow.correct.mean()),
                   "majority": float(majority_by_problem(narrow.answers, narrow.correct, [size]).mean()),
                   "pass@n": float(pass_at_n_by_problem(narrow.correct, [size]).mean())}


def _best_of_n(pool: Pool, name: str) -> tuple[tuple[int, ...], Array]:
    """(sizes, [P, sizes])."""
    ns = tuple(n for n in (*NS, 128, 256, 512, 1024) if n <= pool.correct.shape[1])
    return ns, best_of_n_by_problem(pool.scores[name], pool.correct, ns)


def _success_rates(row: StepRow, learnt: Learnt, eta: float | None) -> Array:
    scores = np.array(row_scores(row), np.float64)
    return scores if eta is None else np.clip(mean_of_soft(np.clip(scores, 0.0, 1.0), eta), 0.0, 1.0)


def _calibration(rows: Sequence[StepRow], rates: Sequence[Array]) -> dict[str, float]:
    outcomes = np.repeat([float(row.outcome or 0.0) for row in rows], list(map(len, rates)))
    found = calibrate(np.concatenate(rates), outcomes)
    return {"brier": found.brier, "ece": found.ece} | ({} if found.auc is None else {"auc": found.auc})


def _residual(rows: Sequence[StepRow], rates: Sequence[Array]) -> dict[str, float]:
    if max(map(len, rates)) < 2:  # no step follows another
        return {}
    own = [replace(row, scores=tuple(found.tolist())) for row, found in zip(rows, rates, strict=True)]
    return {"residual": bellman_residual(own, ETA, scores_are="mean").mean}
