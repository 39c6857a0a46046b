"""Registered operations: `erprm::segment_reduce`, `erprm::best_of_n` and both at once, `erprm::pool_best`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, library

from erprm.errors import InputError
from erprm.kernels import checks
from erprm.kernels.ops import eager
from erprm.kernels.reference import pools as reference


def _refuse_nan(scores: Tensor, values: Tensor, how: int | None = None) -> None:
    """`values` came from `scores` by the reduction `how`, or are the scores: they have a NaN if the scores have."""
    total = float((scores if how == reference.LAST else values).sum())
    if total != total and bool(scores.isnan().any()):
        raise InputError(f"scores: expected numbers, found NaN at index {scores.isnan().nonzero()[0].tolist()}")


def _reduce(scores: Tensor, offsets: Tensor, how: int) -> Tensor:
    """[M] step scores into [S] values; `how` as in `reference.pools.HOW`."""
    checks.check_offsets(offsets, scores.numel())
    values = reference.segment_reduce(scores, offsets, how)
    _refuse_nan(scores, values, how)
    return values


segment_reduce = library.custom_op("erprm::segment_reduce", _reduce, mutates_args=(), device_types="cpu")


@segment_reduce.register_kernel("cuda")
def _(scores: Tensor, offsets: Tensor, how: int) -> Tensor:
    from erprm.kernels.device import pools as device

    return device.segment_reduce(scores, offsets, how)


@segment_reduce.register_fake
def _(scores: Tensor, offsets: Tensor, how: int) -> Tensor:
    return scores.new_empty(offsets.shape[0] - 1)


def _gradient(grad: Tensor, scores: Tensor, offsets: Tensor, how: int) -> Tensor:
    """The gradient of the step scores [M]."""
    return reference.segment_reduce_backward(grad, scores, offsets, how)


segment_reduce_backward = library.custom_op("erprm::segment_reduce_backward", _gradient,
                                            mutates_args=(), device_types="cpu")


@segment_reduce_backward.register_kernel("cuda")
def _(grad: Tensor, scores: Tensor, offsets: Tensor, how: int) -> Tensor:
    from erprm.kernels.device import pools as device

    return device.segment_reduce_backward(grad, scores, offsets, how)


@segment_reduce_backward.register_fake
def _(grad: Tensor, scores: Tensor, offsets: Tensor, how: int) -> Tensor:
    return scores.new_empty(scores.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    scores, offsets, ctx.how = inputs
    ctx.save_for_backward(scores, offsets)


def _backward(ctx: Any, grad: Tensor, operation: Any = segment_reduce_backward) -> tuple[Tensor, None, None]:
    scores, offsets = ctx.saved_tensors
    return operation(grad, scores, offsets, ctx.how), None, None


segment_reduce.register_autograd(_backward, setup_context=_save)
segment_reduce_eager = eager.autograd_function("erprm::segment_reduce", _reduce, _save,
                                               partial(_backward, operation=_gradient), leaves=1, results=0)


def best_of_n_eager(scores: Tensor) -> Tensor:
    """[P, N] into [P] int64: the first of the best."""
    _refuse_nan(scores, scores)
    return reference.best_of_n(scores)


best_of_n = library.custom_op("erprm::best_of_n", best_of_n_eager, mutates_args=(), device_types="cpu")


@best_of_n.register_kernel("cuda")
def _(scores: Tensor) -> Tensor:
    from erprm.kernels.device import pools as device

    return device.best_of_n(scores)


@best_of_n.register_fake
def _(scores: Tensor) -> Tensor:
    return scores.new_empty(scores.shape[0], dtype=torch.int64)


def pool_best_eager(scores: Tensor, offsets: Tensor, candidates: int, how: int) -> tuple[Tensor, Tensor]:
    """Step scores [M] of P * N solutions into values [P, N] and the best candidates [P] int64."""
    checks.check_offsets(offsets, scores.numel())
    values = reference.segment_reduce(scores, offsets, how).reshape(-1, candidates)
    _refuse_nan(scores, values, how)
    return values, reference.best_of_n(values)


pool_best = library.custom_op("erprm::pool_best", pool_best_eager, mutates_args=(), device_types="cpu")


@pool_best.register_kernel("cuda")
def _(scores: Tensor, offsets: Tensor, candidates: int, how: int) -> tuple[Tensor, Tensor]:
    from erprm.kernels.device import pools as device

    return device.pool_best(scores, offsets, candidates, how)


@pool_best.register_fake
def _(scores: Tensor, offsets: Tensor, candidates: int, how: int) -> tuple[Tensor, Tensor]:
    problems = (offsets.shape[0] - 1) // candidates
    return scores.new_empty((problems, candidates)), scores.new_empty(problems, dtype=torch.int64)
