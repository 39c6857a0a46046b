"""Soft values of steps from the rewards of their completions.

    rewards = torch.tensor([1, 0, 0, 1, 1], dtype=torch.uint8)
    offsets = torch.tensor([0, 3, 5])                      # step 0 has three completions, step 1 two
    log_mean_exp(rewards, offsets, 2.0)                    # tensor([0.5705, 1.0000])
    log_mean_exp(rewards, offsets, (0.5, 2.0))             # [2, 2]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, library

from erprm.errors import InputError
from erprm.kernels import checks
from erprm.kernels.log_mean_exp import reference


def log_mean_exp(rewards: Tensor, offsets: Tensor, etas: float | Sequence[float]) -> Tensor:
    """V_s = (1/eta) ln mean_{i in s} exp(eta r_i): ER-PRM's soft value (arXiv 2412.11006, equation 7) per segment.

    Args:
        rewards: [R] float64, float32, bfloat16, float16, or uint8/bool for rewards that are 0 or 1 (these are only
            counted). Finite. Differentiable when floating.
        offsets: [S + 1] int64 from 0 to R; segment s is rewards[offsets[s]:offsets[s + 1]], at least one element.
        etas: inverse temperature, or H distinct ones. Any finite value: 0 is the mean, +large the maximum, negative the
            soft minimum.

    Returns:
        [S], or [H, S] for a sequence: float32 (float64 for float64 rewards), accumulated in float32 or wider.

    Raises:
        InputError: naming the argument. Values are read on CPU tensors only; see `erprm.kernels.checks`.
    """
    many = not isinstance(etas, (int, float))
    numbers = checks.check_etas([etas] if isinstance(etas, (int, float)) else etas)
    checks.check_tensor("rewards", rewards, [None], checks.REWARD_DTYPES, rewards.device)
    checks.check_tensor("offsets", offsets, [None], (torch.int64,), rewards.device)
    if offsets.shape[0] == 0:
        raise InputError("offsets: expected at least one value, found none")
    values: Tensor = log_mean_exp_op(rewards, offsets, numbers)[0]
    return values if many else values[0]


def _forward(rewards: Tensor, offsets: Tensor, etas: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Values, extremes and ln(mean exp) [H, S]; see `reference.log_mean_exp`. Reads and checks the values."""
    checks.check_offsets(offsets, rewards.numel())
    checks.check_rewards(rewards)
    values, extremes, logs = reference.log_mean_exp(rewards, offsets, etas)
    dtype = _dtype(rewards)
    return values.to(dtype), extremes.to(dtype), logs.to(dtype)


log_mean_exp_op = library.custom_op("erprm::log_mean_exp", _forward, mutates_args=(), device_types="cpu")


@log_mean_exp_op.register_kernel("cuda")
def _(rewards: Tensor, offsets: Tensor, etas: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    from erprm.kernels.log_mean_exp import triton as device

    return device.log_mean_exp(rewards, offsets, etas)


@log_mean_exp_op.register_fake
def _(rewards: Tensor, offsets: Tensor, etas: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    shape = (len(etas), offsets.shape[0] - 1)
    dtype = _dtype(rewards)
    return (rewards.new_empty(shape, dtype=dtype), rewards.new_empty(shape, dtype=dtype),
            rewards.new_empty(shape, dtype=dtype))


def _gradient(grad: Tensor, rewards: Tensor, offsets: Tensor, etas: list[float], extremes: Tensor, logs: Tensor,
              ) -> Tensor:
    """The gradient of the rewards [R], in their dtype."""
    return reference.log_mean_exp_backward(grad, rewards, offsets, etas, extremes, logs).to(rewards.dtype)


log_mean_exp_backward = library.custom_op("erprm::log_mean_exp_backward", _gradient,
                                          mutates_args=(), device_types="cpu")


@log_mean_exp_backward.register_kernel("cuda")
def _(grad: Tensor, rewards: Tensor, offsets: Tensor, etas: list[float], extremes: Tensor, logs: Tensor) -> Tensor:
    from erprm.kernels.log_mean_exp import triton as device

    return device.log_mean_exp_backward(grad, rewards, offsets, etas, extremes, logs)


@log_mean_exp_backward.register_fake
def _(grad: Tensor, rewards: Tensor, offsets: Tensor, etas: list[float], extremes: Tensor, logs: Tensor) -> Tensor:
    return torch.empty_like(rewards, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    rewards, offsets, ctx.etas = inputs
    ctx.mark_non_differentiable(output[1], output[2])
    ctx.save_for_backward(rewards, offsets, output[1], output[2])


def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, None, None]:
    rewards, offsets, extremes, logs = ctx.saved_tensors
    return log_mean_exp_backward(grad, rewards, offsets, ctx.etas, extremes, logs), None, None


log_mean_exp_op.register_autograd(_backward, setup_context=_save)


def _dtype(rewards: Tensor) -> torch.dtype:
    return torch.float64 if rewards.dtype == torch.float64 else torch.float32
