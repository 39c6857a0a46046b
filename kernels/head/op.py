"""Registered operation: the gradients of every loss on a few head rows, `erprm::head_gradients`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, library

from erprm.kernels.head import reference
from erprm.kernels.head.reference import Forward

head_gradients = library.custom_op("erprm::head_gradients", reference.gradients, mutates_args=(), device_types="cpu")


@head_gradients.register_kernel("cuda")
def _(grad: Tensor, saved: list[Tensor], head: Tensor, bias: Tensor | None, positions: Tensor, rows: int,
      dtype: torch.dtype, need: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    from erprm.kernels.head import gradients as device

    return device.gradients(grad, saved, head, bias, positions, rows, dtype, need)


@head_gradients.register_fake
def _(grad: Tensor, saved: list[Tensor], head: Tensor, bias: Tensor | None, positions: Tensor, rows: int,
      dtype: torch.dtype, need: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    return (head.new_empty((rows, head.shape[1]) if need[0] else (0,), dtype=dtype),
            head.new_empty(head.shape if need[1] else (0,)),
            bias.new_empty(bias.shape) if need[2] and bias is not None else head.new_empty(0))


def fake(hidden: Tensor, head: Tensor, positions: Tensor, need_head: bool) -> Forward:
    """What an operation on a few head rows returns, without values."""
    dtype, steps, margins = reference.compute_dtype(hidden), positions.shape[0], head.shape[0] - 1
    shares = 1
    if hidden.is_cuda:
        from erprm.kernels.head import triton as device

        shares = device.programs(hidden, margins, steps)
    new = hidden.new_empty
    return (new((), dtype=dtype), new((steps, margins), dtype=dtype), new((steps, margins), dtype=dtype),
            new((shares, margins, hidden.shape[1]) if need_head else (0,), dtype=dtype), new(margins, dtype=dtype))


def register_gradient(operation: Any) -> None:
    """Gives the gradient to an operation whose first inputs are hidden, head, bias and positions."""
    operation.register_autograd(_backward, setup_context=_save)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Forward) -> None:
    hidden, head, bias, positions = inputs[:4]
    ctx.mark_non_differentiable(*output[1:])
    ctx.rows, ctx.dtype = hidden.shape[0], hidden.dtype
    lists = [isinstance(given, (list, tuple)) and isinstance(given[0], Tensor) for given in inputs[4:]]
    ctx.rest = [[None] * len(given) if tensors else None for given, tensors in zip(inputs[4:], lists, strict=True)]
    ctx.save_for_backward(head, bias, positions, *output[2:])


def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Any, ...]:
    head, bias, positions, *saved = ctx.saved_tensors
    need = list(ctx.needs_input_grad[:3])
    gradients = head_gradients(grad, saved, head, bias, positions, ctx.rows, ctx.dtype, need)
    wanted = [gradient if needed else None for gradient, needed in zip(gradients, need, strict=True)]
    return (*wanted, None, *ctx.rest)
