"""Adaptive best-of-N: stop drawing candidates when the leader's lower quantile passes the others' upper ones.

    low, high = hoeffding_interval([0.9, 0.4, 0.35, 0.2])                 # where the model gives no interval
    settled([0.9, 0.4, 0.35, 0.2], low, high)                             # True: more candidates are not worth it
    result = adaptive_by_problem(scores, low, high, correct, cost)        # what a pool of N would have saved

A candidate's score stands for a success rate that is not known exactly. While intervals overlap, another candidate may
still turn out best; once the leader's lies above all others, the choice stands and the rest need not be drawn (as
BetaPRM does with its learnt concentration, arXiv 2605.15529). Scores with intervals (columns `score_low` and
`score_high`) are taken as they are. Others get Hoeffding's bound for the mean of `worth` Bernoulli draws,
s +- sqrt(ln(2 / (1 - level)) / (2 worth)): as if every score had been counted from so many completions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.engines.base import Engine
from erprm.errors import InputError
from erprm.selection.aggregate import aggregate_all
from erprm.selection.best_of_n import check_pool
from erprm.selection.sampling import sample_solutions
from erprm.selection.search import Path, Refused, Scorer, SearchSettings, ranked
from erprm.values import Array

WORTH, LEVEL, LEAST, ORDERS = 16, 0.9, 4, 32


def hoeffding_interval(scores: npt.ArrayLike, worth: int = WORTH, level: float = LEVEL) -> tuple[Array, Array]:
    """The ends of each score's interval, cut to [0, 1]; the shape of `scores`.

    Args:
        worth: completions that a score is worth.
        level: the least probability inside.

    Raises:
        InputError: for worth < 1 or a level outside (0, 1).
    """
    if worth < 1:
        raise InputError(f"worth: expected at least 1, found {worth}")
    if not 0.0 < level < 1.0:
        raise InputError(f"level: expected a number between 0 and 1, found {level}")
    given = np.asarray(scores, np.float64)
    half = math.sqrt(math.log(2.0 / (1.0 - level)) / (2.0 * worth))
    return np.clip(given - half, 0.0, 1.0), np.clip(given + half, 0.0, 1.0)


def settled(scores: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> bool:
    """Whether the leader's lower end lies above every other candidate's upper one; False for a single candidate.

    Args:
        scores, low, high: [n] of the candidates so far; the first of the highest scores leads.
    """
    given, below, above = (np.asarray(values, np.float64) for values in (scores, low, high))
    leader = int(given.argmax())
    return given.size > 1 and bool(below[leader] > np.delete(above, leader).max())


@dataclass(frozen=True, slots=True)
class Adaptive:
    """Adaptive best-of-N on pools, the mean over orders of each pool; by problem, [P] each.

    Attributes:
        accuracy: of the choice where drawing stopped; full: of the choice among all N.
        candidates: how many were drawn.
        saved: the share of the pool's cost (tokens) that was not spent.
    """

    accuracy: Array
    full: Array
    candidates: Array
    saved: Array


def adaptive_by_problem(scores: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, correct: npt.ArrayLike,
                        cost: npt.ArrayLike, *, least: int = LEAST, orders: int = ORDERS, seed: int = 0) -> Adaptive:
    """What stopping early would have cost and saved, on pools that were drawn in full.

    Args:
        scores, low, high: [P, N], each candidate's score and interval.
        correct: [P, N], in [0, 1].
        cost: [P, N], what drawing each took: tokens.
        least: candidates drawn before the first look.
        orders: random orders of each pool, drawn with the seed.

    Raises:
        InputError: for shapes that differ, or counts below 1.
    """
    right = check_pool(correct, (), "correct")
    parts = [np.asarray(values, np.float64) for values in (scores, low, high, cost)]
    if any(part.shape != right.shape for part in parts):
        raise InputError(f"scores, low, high, cost: expected the shape of correct {right.shape}")
    if least < 1 or orders < 1:
        raise InputError(f"least, orders: expected at least 1, found {least}, {orders}")
    problems, size = right.shape
    found = np.zeros((4, problems))
    for problem in range(problems):
        rng = np.random.default_rng((seed, problem))
        for _ in range(orders):
            order = rng.permutation(size)
            values, below, above, spent = (part[problem, order] for part in parts)
            count = _stop(values, below, above, least)
            outcome = right[problem, order]
            found[:, problem] += (outcome[int(values[:count].argmax())], outcome[int(values.argmax())], count,
                                  1.0 - spent[:count].sum() / max(spent.sum(), 1e-300))
    return Adaptive(*(found / orders))


def _stop(values: Array, low: Array, high: Array, least: int) -> int:
    """After how many candidates, at least `least`, `settled` holds first; all where it never does."""
    counts = range(min(least, len(values)), len(values) + 1)
    return next((n for n in counts if settled(values[:n], low[:n], high[:n])), len(values))


def adaptive_best_of_n(questions: Sequence[str], engine: Engine, score: Scorer, settings: SearchSettings, most: int,
                       interval: Callable[[Array], tuple[Array, Array]] = hoeffding_interval,
                       advance: Callable[[int], object] | None = None, refused: Refused | None = None,
                       ) -> list[list[Path]]:
    """Draw whole solutions, `settings.expand` at a time, until the choice has settled or `most` are drawn.

    Args:
        settings: `expand`, `aggregation`, `splitter`, `sampling` and `seed`; a solution may take max_tokens * max_steps
            tokens.
        interval: aggregated scores to the ends of their intervals, where the model gives none.

    Returns:
        For each question its solutions, the best first. Candidate i is the same whatever `expand` and `most` are.
    """
    found: list[list[Path]] = [[] for _ in questions]
    going, drawn = list(range(len(questions))), 0
    while going and drawn < most:
        count = min(settings.expand, most - drawn)
        fresh = sample_solutions([questions[index] for index in going], engine, score, settings, count, refused, drawn)
        drawn += count
        still = []
        for index, paths in zip(going, fresh, strict=True):
            found[index] += paths
            if not found[index] or not settled(*_ends(found[index], settings.aggregation, interval)):
                still.append(index)
        if advance is not None:
            advance(len(going) - (len(still) if drawn < most else 0))
        going = still
    return [ranked(paths, settings.aggregation) for paths in found]


def _ends(paths: Sequence[Path], aggregation: str, interval: Callable[[Array], tuple[Array, Array]],
          ) -> tuple[Array, Array, Array]:
    """Aggregated scores and the ends of their intervals; every aggregation rises with every step's score."""
    values = np.array([path.value(aggregation) for path in paths])
    if not all(path.low for path in paths):
        return values, *interval(values)
    return (values, aggregate_all([path.low for path in paths], aggregation),
            aggregate_all([path.high for path in paths], aggregation))


def summary(found: Adaptive) -> dict[str, Any]:
    """Means over problems, as in evaluation.json."""
    return {"accuracy": float(found.accuracy.mean()), "full": float(found.full.mean()),
            "candidates": float(found.candidates.mean()), "saved": float(found.saved.mean())}
