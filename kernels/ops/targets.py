"""Registered operation: segment log-mean-exp, `erprm::log_mean_exp`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, library

from erprm.kernels import checks
from erprm.kernels.ops import eager
from erprm.kernels.reference import targets as reference


def _forward(outcomes: Tensor, offsets: Tensor, etas: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Values, extremes and ln(mean exp) [H, S]; see `reference.targets.log_mean_exp`. Reads and checks the values."""
    checks.check_offsets(offsets, outcomes.numel())
    checks.check_outcomes(outcomes)
    parts = reference.log_mean_exp(outcomes, offsets, etas)
    dtype = _dtype(outcomes)
    return parts[0].to(dtype), parts[1].to(dtype), parts[2].to(dtype)


log_mean_exp = library.custom_op("erprm::log_mean_exp", _forward, mutates_args=(), device_types="cpu")


@log_mean_exp.register_kernel("cuda")
def _(outcomes: Tensor, offsets: Tensor, etas: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    from erprm.kernels.device import targets as device

    return device.log_mean_exp(outcomes, offsets, etas)


@log_mean_exp.register_fake
def _(outcomes: Tensor, offsets: Tensor, etas: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    shape = (len(etas), offsets.shape[0] - 1)
    dtype = _dtype(outcomes)
    return (outcomes.new_empty(shape, dtype=dtype), outcomes.new_empty(shape, dtype=dtype),
            outcomes.new_empty(shape, dtype=dtype))


def _gradient(grad: Tensor, outcomes: Tensor, offsets: Tensor, etas: list[float], extremes: Tensor, logs: Tensor,
              ) -> Tensor:
    """The gradient of the outcomes [R], in their dtype."""
    return reference.log_mean_exp_backward(grad, outcomes, offsets, etas, extremes, logs).to(outcomes.dtype)


log_mean_exp_backward = library.custom_op("erprm::log_mean_exp_backward", _gradient,
                                          mutates_args=(), device_types="cpu")


@log_mean_exp_backward.register_kernel("cuda")
def _(grad: Tensor, outcomes: Tensor, offsets: Tensor, etas: list[float], extremes: Tensor, logs: Tensor) -> Tensor:
    from erprm.kernels.device import targets as device

    return device.log_mean_exp_backward(grad, outcomes, offsets, etas, extremes, logs)


@log_mean_exp_backward.register_fake
def _(grad: Tensor, outcomes: Tensor, offsets: Tensor, etas: list[float], extremes: Tensor, logs: Tensor) -> Tensor:
    return torch.empty_like(outcomes, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    outcomes, offsets, ctx.etas = inputs
    ctx.mark_non_differentiable(output[1], output[2])
    ctx.save_for_backward(outcomes, offsets, output[1], output[2])


def _backward(ctx: Any, grad: Tensor, *_: Tensor, operation: Any = log_mean_exp_backward,
              ) -> tuple[Tensor | None, None, None]:
    outcomes, offsets, extremes, logs = ctx.saved_tensors
    if not ctx.needs_input_grad[0]:
        return None, None, None
    return operation(grad, outcomes, offsets, ctx.etas, extremes, logs), None, None


log_mean_exp.register_autograd(_backward, setup_context=_save)
log_mean_exp_eager = eager.autograd_function("erprm::log_mean_exp", _forward, _save,
                                             partial(_backward, operation=_gradient), leaves=1, results=1)


def _dtype(outcomes: Tensor) -> torch.dtype:
    return torch.float64 if outcomes.dtype == torch.float64 else torch.float32
