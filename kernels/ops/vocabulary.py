"""Registered operation: the step loss over the whole vocabulary, `erprm::vocab_step_loss`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, library

from erprm.kernels import checks
from erprm.kernels.ops import eager
from erprm.kernels.reference import losses as reference_losses
from erprm.kernels.reference import vocabulary as reference

Forward = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def _forward(hidden: Tensor, lm_head: Tensor, positions: Tensor, targets: Tensor, plus: int, minus: int,
             weights: Tensor | None, normalizer: Tensor | None, normalizer_value: float | None, need_hidden: bool,
             need_head: bool) -> Forward:
    """Loss (0-d), scores [M], unscaled gradients of the tagged rows [M, D] and of lm_head [V, D] (empty unless needed),
    and 1 / normalizer (0-d)."""
    checks.check_positions(positions, hidden.shape[0])
    checks.check_targets(targets)
    if weights is not None:
        checks.check_weights(weights)
    dtype = reference_losses.compute_dtype(hidden)
    with reference_losses.no_autocast():
        rows = hidden.index_select(0, positions).to(dtype)
        weight = torch.ones(rows.shape[0], dtype=dtype) if weights is None else weights.to(dtype)
        inverse = reference_losses.inverse_normalizer(weight, rows, normalizer, normalizer_value)
        losses, margins, drows, dhead = reference.forward(rows, lm_head, targets.to(dtype), weight, plus, minus,
                                                          need_hidden, need_head)
        scale = inverse if isinstance(inverse, Tensor) else weight.new_full((), inverse)
        return (losses * weight).sum() * scale, torch.sigmoid(margins), drows, dhead, scale


vocab_step_loss = library.custom_op("erprm::vocab_step_loss", _forward, mutates_args=(), device_types="cpu")


@vocab_step_loss.register_kernel("cuda")
def _(hidden: Tensor, lm_head: Tensor, positions: Tensor, targets: Tensor, plus: int, minus: int,
      weights: Tensor | None, normalizer: Tensor | None, normalizer_value: float | None, need_hidden: bool,
      need_head: bool) -> Forward:
    from erprm.kernels.device import vocabulary as device

    return device.vocab_step_loss(hidden, lm_head, positions, targets, plus, minus, weights, normalizer,
                                  normalizer_value, need_hidden, need_head)


@vocab_step_loss.register_fake
def _(hidden: Tensor, lm_head: Tensor, positions: Tensor, targets: Tensor, plus: int, minus: int,
      weights: Tensor | None, normalizer: Tensor | None, normalizer_value: float | None, need_hidden: bool,
      need_head: bool) -> Forward:
    dtype = reference_losses.compute_dtype(hidden)
    steps, width = positions.shape[0], hidden.shape[1]
    return (hidden.new_empty((), dtype=dtype), hidden.new_empty(steps, dtype=dtype),
            hidden.new_empty((steps, width) if need_hidden else (0,), dtype=dtype),
            hidden.new_empty(lm_head.shape if need_head else (0,), dtype=dtype), hidden.new_empty((), dtype=dtype))


def _gradients(grad: Tensor, inverse: Tensor, drows: Tensor, dhead: Tensor, positions: Tensor, rows: int,
               hidden_dtype: torch.dtype, head_dtype: torch.dtype, need_hidden: bool, need_head: bool,
               ) -> tuple[Tensor, Tensor]:
    """Gradients of hidden [rows, D] and lm_head [V, D] in their dtypes; empty where not needed."""
    scale = (grad * inverse).to(inverse.dtype)
    dhidden = drows.new_empty(0, dtype=hidden_dtype)
    if need_hidden:
        dhidden = reference_losses.zeros(rows, drows.shape[1], hidden_dtype)
        dhidden.index_copy_(0, positions, (drows * scale).to(hidden_dtype))
    return dhidden, (dhead * scale).to(head_dtype) if need_head else drows.new_empty(0, dtype=head_dtype)


vocab_step_loss_backward = library.custom_op("erprm::vocab_step_loss_backward", _gradients,
                                             mutates_args=(), device_types="cpu")


@vocab_step_loss_backward.register_kernel("cuda")
def _(grad: Tensor, inverse: Tensor, drows: Tensor, dhead: Tensor, positions: Tensor, rows: int,
      hidden_dtype: torch.dtype, head_dtype: torch.dtype, need_hidden: bool, need_head: bool) -> tuple[Tensor, Tensor]:
    from erprm.kernels.device import vocabulary as device

    return device.vocab_step_loss_backward(grad, inverse, drows, dhead, positions, rows, hidden_dtype, head_dtype,
                                           need_hidden, need_head)


@vocab_step_loss_backward.register_fake
def _(grad: Tensor, inverse: Tensor, drows: Tensor, dhead: Tensor, positions: Tensor, rows: int,
      hidden_dtype: torch.dtype, head_dtype: torch.dtype, need_hidden: bool, need_head: bool) -> tuple[Tensor, Tensor]:
    dhidden = drows.new_empty((rows, drows.shape[1]) if need_hidden else (0,), dtype=hidden_dtype)
    return dhidden, dhead.new_empty(dhead.shape if need_head else (0,), dtype=head_dtype)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Forward) -> None:
    hidden, lm_head, positions = inputs[:3]
    _, scores, drows, dhead, inverse = output
    ctx.mark_non_differentiable(scores, drows, dhead, inverse)
    ctx.rows, ctx.dtypes, ctx.count = hidden.shape[0], (hidden.dtype, lm_head.dtype), len(inputs)
    ctx.save_for_backward(positions, drows, dhead, inverse)


def _backward(ctx: Any, grad: Tensor, *_: Tensor, operation: Any = vocab_step_loss_backward,
              ) -> tuple[Tensor | None, ...]:
    positions, drows, dhead, inverse = ctx.saved_tensors
    need = ctx.needs_input_grad
    gradients = operation(grad, inverse, drows, dhead, positions, ctx.rows, *ctx.dtypes, *need[:2])
    wanted = [gradient if needed else None for gradient, needed in zip(gradients, need[:2], strict=True)]
    return (*wanted, *(None,) * (ctx.count - 2))


vocab_step_loss.register_autograd(_backward, setup_context=_save)
vocab_step_loss_eager = eager.autograd_function("erprm::vocab_step_loss", _forward, _save,
                                                partial(_backward, operation=_gradients), leaves=2, results=2)
