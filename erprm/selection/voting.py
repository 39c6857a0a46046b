"""Majority and score-weighted majority at n, from one pool of N candidates per problem.

    majority_by_problem(answers, correct, [1, 4, 16, 64])                     # [P, 4]
    majority_by_problem(answers, correct, [1, 4, 16, 64], weights=scores)     # each vote weighs its candidate's score

The expectation runs over n-subsets of the pool: over all of them when there are at most `resamples`, else over that
many drawn with the seed (the same ones for every choice of weights, so that two voters are compared on equal subsets).
A tie between answers is shared evenly. A candidate without an answer (None) does not vote; when nobody votes, the
choice is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.selection.best_of_n import check_pool
from erprm.values import Array

RESAMPLES = 256


def majority_by_problem(answers: Sequence[Sequence[Hashable]], correct: npt.ArrayLike, ns: Sequence[int],
                        weights: npt.ArrayLike | None = None, *, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Expected accuracy of the most voted answer of n candidates.

    Args:
        answers: [P][N], normalised so that equal answers are equal objects (`erprm.grading.graders.ballot`); None where
            there is none.
        correct: [P, N], in [0, 1]; an answer's correctness is the mean over the candidates that gave it.
        ns: subset sizes, 1 <= n <= N.
        weights: [P, N], non-negative; 1 each by default.
        resamples: subsets drawn per problem and n.

    Returns:
        float64 [P, len(ns)].

    Raises:
        InputError: for shapes that differ, negative weights, or n out of range.
    """
    right = check_pool(correct, ns, "correct")
    problems, size = right.shape
    if len(answers) != problems or any(len(given) != size for given in answers):
        raise InputError(f"answers: expected {problems} lists of {size} answers, as in correct")
    weight = np.ones_like(right) if weights is None else np.asarray(weights, np.float64)
    if weight.shape != right.shape or not np.all(np.isfinite(weight) & (weight >= 0)):
        raise InputError(f"weights: expected finite non-negative numbers of shape {right.shape}")
    result = np.empty((problems, len(ns)))
    for row, given in enumerate(answers):
        known: dict[Hashable, int] = {}
        ids = np.array([-1 if answer is None else known.setdefault(answer, len(known)) for answer in given])
        draws = np.random.default_rng((seed, row)).random((resamples, size)).argsort(axis=1)
        for column, n in enumerate(ns):
            result[row, column] = _vote(ids, right[row], weight[row], _subsets(draws, n))
    return result


def majority_choice(answers: Sequence[Hashable], weights: npt.ArrayLike | None = None) -> Hashable:
    """The answer with the greatest total weight among one problem's candidates (the first on a tie); None if none."""
    totals: dict[Hashable, float] = {}
    given = np.ones(len(answers)) if weights is None else np.asarray(weights, np.float64)
    for answer, weight in zip(answers, given, strict=True):
        if answer is not None:
            totals[answer] = totals.get(answer, 0.0) + float(weight)
    return max(totals, key=lambda answer: totals[answer]) if totals else None


def _subsets(draws: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """[R, n] candidate indices: every n-subset when there are at most as many as draws, else the drawn ones."""
    resamples, size = draws.shape
    if math.comb(size, n) <= resamples:
        return np.array(list(combinations(range(size), n)))
    return draws[:, :n]


def _vote(ids: npt.NDArray[np.int64], right: Array, weight: Array, subsets: npt.NDArray[np.int64]) -> float:
    """Mean correctness over subsets of the winning answer; `ids` are 0..K-1, -1 for none."""
    kinds = int(ids.max()) + 1
    if kinds == 0:
        return 0.0
    voting = ids >= 0
    worth = np.bincount(ids[voting], right[voting], kinds) / np.bincount(ids[voting], minlength=kinds)
    # One vote count per subset and answer in a single bincount; column 0 takes the candidates without an answer.
    cells = np.arange(len(subsets))[:, None] * (kinds + 1) + ids[subsets] + 1
    totals = np.bincount(cells.ravel(), weight[subsets].ravel(), len(subsets) * (kinds + 1))
    present = np.bincount(cells.ravel(), minlength=len(subsets) * (kinds + 1))
    votes = totals.reshape(-1, kinds + 1)[:, 1:]
    stands = present.reshape(-1, kinds + 1)[:, 1:] > 0
    best = np.where(stands, votes, -1.0)
    wins = (best == best.max(axis=1, keepdims=True)) & stands
    return float(np.mean((wins @ worth) / np.maximum(wins.sum(axis=1), 1)))
