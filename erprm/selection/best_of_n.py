"""Best-of-n and pass@n from one pool of N candidates per problem, exact over all n-subsets.

    best_of_n_by_problem(scores, correct, [1, 4, 16, 64])     # [P, 4], the accuracy that choosing by score reaches
    pass_at_n_by_problem(correct, [1, 4, 16, 64])             # [P, 4], the ceiling: some candidate is right

Among all n-subsets of N candidates, the one with the i-th best score is the subset's best in C(N-i, n-1) of C(N, n)
cases, so the expected correctness of the choice is a weighted sum over the sorted pool, without sampling.
Candidates with equal scores share their weight evenly, as if the choice among them were random.
Problems stay apart, for intervals and paired tests; a curve is the mean over them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.values import Array


def best_of_n_by_problem(scores: npt.ArrayLike, correct: npt.ArrayLike, ns: Sequence[int]) -> Array:
    """Expected accuracy of choosing the best-scored of n candidates.

    Args:
        scores: [P, N], finite; higher is better.
        correct: [P, N], the outcome of each candidate, in [0, 1].
        ns: subset sizes, 1 <= n <= N.

    Returns:
        float64 [P, len(ns)].

    Raises:
        InputError: for shapes that differ, an empty problem set, scores that are not finite, or n out of range.
    """
    right = check_pool(correct, ns, "correct")
    given = np.asarray(scores, np.float64)
    if given.shape != right.shape:
        raise InputError(f"scores: expected the shape of correct {right.shape}, found {given.shape}")
    if not np.all(np.isfinite(given)):
        raise InputError("scores: expected finite scores, found nan or inf")
    order = np.argsort(-given, axis=1, kind="stable")
    ranked = np.take_along_axis(given, order, axis=1)
    outcome = np.take_along_axis(right, order, axis=1)
    # Number the runs of equal scores over the flattened pool; every problem starts a new run.
    starts = np.ones_like(ranked, dtype=bool)
    starts[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    run = np.cumsum(starts.ravel()) - 1
    shared = (np.bincount(run, outcome.ravel()) / np.bincount(run))[run].reshape(outcome.shape)
    return np.asarray(shared @ _rank_weights(right.shape[1], ns).T)


def pass_at_n_by_problem(correct: npt.ArrayLike, ns: Sequence[int]) -> Array:
    """Chance that some of n candidates is right, 1 - C(N-c, n)/C(N, n): float64 [P, len(ns)]. `correct` is 0 or 1."""
    right = check_pool(correct, ns, "correct")
    if not np.all((right == 0) | (right == 1)):
        raise InputError("correct: expected 0 or 1 for pass@n, found a value between")
    size = right.shape[1]
    chance = np.array([[1.0 - math.comb(size - c, n) / math.comb(size, n) for n in ns] for c in range(size + 1)])
    return np.asarray(chance[right.sum(axis=1).astype(np.int64)])


def pool_accuracy(scores: Array, offsets: npt.NDArray[np.int64], outcomes: Array, problems: npt.NDArray[np.int64],
                  ) -> dict[str, float]:
    """Best-of-N over all graded rows of each problem, however many, by the minimum over their steps.

    Args:
        scores: [M], offsets: [R + 1] into it; rows with a NaN score are left out.
        outcomes: [R], NaN where a row was not graded.
        problems: [R], equal for rows of one problem.

    Returns:
        "best_of_n", the accuracy of the chosen rows, and "mean_of_n", that of a row drawn at random, over problems with
        at least two graded rows; empty when there is none.
    """
    lowest = np.minimum.reduceat(scores, offsets[:-1]) if len(outcomes) else scores
    usable = ~np.isnan(lowest) & ~np.isnan(outcomes)
    order = np.flatnonzero(usable)[np.argsort(problems[usable], kind="stable")]
    pools = [rows for rows in np.split(order, np.flatnonzero(np.diff(problems[order])) + 1) if len(rows) > 1]
    if not pools:
        return {}
    chosen = [best_of_n_by_problem(lowest[rows][None], outcomes[rows][None], [len(rows)]) for rows in pools]
    return {"best_of_n": float(np.mean(chosen)), "mean_of_n": float(np.mean([outcomes[rows].mean() for rows in pools]))}


def check_pool(values: npt.ArrayLike, ns: Sequence[int], name: str) -> Array:
    """`values` as float64 [P, N] in [0, 1] with every n in 1..N. Raises InputError."""
    pool = np.asarray(values, np.float64)
    if pool.ndim != 2 or pool.size == 0:
        raise InputError(f"{name}: expected [problems, candidates], at least one of each, found shape {pool.shape}")
    if not np.all((pool >= 0) & (pool <= 1)):
        raise InputError(f"{name}: expected values in [0, 1]")
    for n in ns:
        if not 1 <= n <= pool.shape[1]:
            raise InputError(f"ns: expected 1 <= n <= {pool.shape[1]} (the candidates per problem), found {n}")
    return pool


def _rank_weights(size: int, ns: Sequence[int]) -> Array:
    """C(size - i, n - 1) / C(size, n) for rank i = 1..size: [len(ns), size], each row sums to 1."""
    return np.array([[math.comb(size - i, n - 1) / math.comb(size, n) for i in range(1, size + 1)] for n in ns])
