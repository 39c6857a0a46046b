"""Scores of solutions from the scores of their steps, and the best solution of each problem.

    values = segment_min(scores, offsets)                        # one value per solution
    best = best_of_n(values.reshape(problems, candidates))       # one index per problem
    values, best = pool_best(scores, offsets, candidates, "min") # both in one kernel
"""

from __future__ import annotations

import torch
from torch import Tensor

from erprm.errors import InputError
from erprm.kernels import checks
from erprm.kernels.ops import eager
from erprm.kernels.ops import pools as ops
from erprm.kernels.reference.pools import HOW, LAST, MEAN, MIN, PRODUCT

MAX_CANDIDATES = 1024


def segment_min(scores: Tensor, offsets: Tensor) -> Tensor:
    """The least step score of each solution. See `segment_mean` for arguments, result and errors."""
    return _reduce(scores, offsets, MIN)


def segment_mean(scores: Tensor, offsets: Tensor) -> Tensor:
    """The mean step score of each solution.

    Args:
        scores: [M] floating step scores of all solutions, one after the other. Differentiable.
        offsets: [S + 1] int64 from 0 to M; solution s has scores[offsets[s]:offsets[s + 1]], at least one step.

    Returns:
        [S] in the dtype of `scores`.

    Raises:
        InputError: naming the argument. Values are read on CPU tensors only.
    """
    return _reduce(scores, offsets, MEAN)


def segment_product(scores: Tensor, offsets: Tensor) -> Tensor:
    """The product of each solution's step scores. See `segment_mean` for arguments, result and errors."""
    return _reduce(scores, offsets, PRODUCT)


def segment_last(scores: Tensor, offsets: Tensor) -> Tensor:
    """The last step score of each solution. See `segment_mean` for arguments, result and errors."""
    return _reduce(scores, offsets, LAST)


def best_of_n(scores: Tensor) -> Tensor:
    """The best candidate of each problem; of equals the first.

    Args:
        scores: [P, N] floating, N at most 1,024 candidates.

    Returns:
        [P] int64.

    Raises:
        InputError: naming the argument.
    """
    checks.check_tensor("scores", scores, [None, None], checks.FLOAT_DTYPES, scores.device)
    _check_candidates(scores.shape[1])
    result: Tensor = (ops.best_of_n_eager if eager.is_plain(scores) else ops.best_of_n)(scores.detach())
    return result


def pool_best(scores: Tensor, offsets: Tensor, candidates: int, how: str = "min") -> tuple[Tensor, Tensor]:
    """`segment_*` and `best_of_n` in one pass, for P problems with the same number of candidates each.

    Args:
        scores: [M] floating step scores.
        offsets: [P * N + 1] int64, as for `segment_mean`.
        candidates: N, at most 1,024.
        how: "min", "mean", "product" or "last".

    Returns:
        values [P, N] in the dtype of `scores`, and the best candidates [P] int64.

    Raises:
        InputError: naming the argument.
    """
    if how not in HOW:
        raise InputError(f"how: expected one of {', '.join(HOW)}, found {how!r}")
    _check_segments(scores, offsets)
    _check_candidates(candidates)
    if (offsets.shape[0] - 1) % candidates:
        raise InputError(f"offsets: expected a multiple of {candidates} solutions, found {offsets.shape[0] - 1}")
    operation = ops.pool_best_eager if eager.is_plain(scores) else ops.pool_best
    values, best = operation(scores.detach(), offsets, candidates, HOW[how])
    return values, best


def _reduce(scores: Tensor, offsets: Tensor, how: int) -> Tensor:
    _check_segments(scores, offsets)
    operation = ops.segment_reduce_eager if eager.is_plain(scores) else ops.segment_reduce
    result: Tensor = operation(scores, offsets, how)
    return result


def _check_segments(scores: Tensor, offsets: Tensor) -> None:
    checks.check_tensor("scores", scores, [None], checks.FLOAT_DTYPES, scores.device)
    checks.check_tensor("offsets", offsets, [None], (torch.int64,), scores.device)
    if offsets.shape[0] == 0:
        raise InputError("offsets: expected at least one value, found none")


def _check_candidates(candidates: int) -> None:
    if not 1 <= candidates <= MAX_CANDIDATES:
        raise InputError(f"candidates: expected between 1 and {MAX_CANDIDATES}, found {candidates}")
