"""Registered operation: the fused step loss, `erprm::step_loss`.

One operation per training step in each direction. The forward pass reads each tagged hidden row once: from it come the
score, the loss, dz and, when the head is trained, the head's gradient (the loss is linear in its own gradient, so it is
only scaled later). The backward pass writes the hidden gradient.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from erprm.kernels import checks
from erprm.kernels.ops import eager
from erprm.kernels.reference import losses as reference
from erprm.kernels.reference import targets as reference_targets

Forward = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def _forward(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, targets: Tensor | None,
             outcomes: Tensor | None, offsets: Tensor | None, eta: float, successes: Tensor | None,
             trials: Tensor | None, concentration: float, weights: Tensor | None, normalizer: Tensor | None,
             normalizer_value: float | None, need_head: bool) -> Forward:
    """Loss (0-d), scores [M], weighted dz [M], dw = sum dz h [D] (empty unless needed), 1 / normalizer (0-d).

    Exactly one of `targets` [M], `outcomes` [R] with `offsets` [M + 1], and `successes` with `trials` [M] is given.
    """
    checks.check_positions(positions, hidden.shape[0])
    if weights is not None:
        checks.check_weights(weights)
    dtype = reference.compute_dtype(hidden)
    with reference.no_autocast():
        rows = hidden.index_select(0, positions).to(dtype)
        z = torch.mv(rows, reference.direction(head, dtype))
        if bias is not None:
            z = z + reference.direction(bias, dtype)
        if successes is not None and trials is not None:
            checks.check_counts(successes, trials)
            losses, dz = reference.counts_loss(z, successes, trials, concentration)
        else:
            losses, dz = reference.binary_loss(z, _targets(targets, outcomes, offsets, eta, dtype))
        weight = None if weights is None else weights.to(dtype)
        inverse = reference.inverse_normalizer(weight, z, normalizer, normalizer_value)
        if weight is not None:
            losses, dz = losses * weight, dz * weight
        dw = torch.mv(rows.T, dz) if need_head else z.new_empty(0)
        return losses.sum() * inverse, torch.sigmoid(z), dz, dw, inverse


def _targets(targets: Tensor | None, outcomes: Tensor | None, offsets: Tensor | None, eta: float, dtype: torch.dtype,
             ) -> Tensor:
    if targets is not None:
        checks.check_targets(targets)
        return targets.to(dtype)
    assert outcomes is not None
    assert offsets is not None
    checks.check_offsets(offsets, outcomes.numel())
    checks.check_outcomes(outcomes, unit=True)
    values, _, _ = reference_targets.log_mean_exp(outcomes, offsets, [eta])
    return values[0].to(dtype)


step_loss = torch.library.custom_op("erprm::step_loss", _forward, mutates_args=(), device_types="cpu")


@step_loss.register_kernel("cuda")
def _(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, targets: Tensor | None,
      outcomes: Tensor | None, offsets: Tensor | None, eta: float, successes: Tensor | None, trials: Tensor | None,
      concentration: float, weights: Tensor | None, normalizer: Tensor | None, normalizer_value: float | None,
      need_head: bool) -> Forward:
    from erprm.kernels.device import losses as device

    return device.step_loss(hidden, head, bias, positions, targets, outcomes, offsets, eta, successes, trials,
                            concentration, weights, normalizer, normalizer_value, need_head)


@step_loss.register_fake
def _(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, targets: Tensor | None,
      outcomes: Tensor | None, offsets: Tensor | None, eta: float, successes: Tensor | None, trials: Tensor | None,
      concentration: float, weights: Tensor | None, normalizer: Tensor | None, normalizer_value: float | None,
      need_head: bool) -> Forward:
    dtype = reference.compute_dtype(hidden)
    steps = positions.shape[0]
    return (hidden.new_empty((), dtype=dtype), hidden.new_empty(steps, dtype=dtype),
            hidden.new_empty(steps, dtype=dtype), hidden.new_empty(hidden.shape[1] if need_head else 0, dtype=dtype),
            hidden.new_empty((), dtype=dtype))


def _gradients(grad: Tensor, inverse: Tensor, dz: Tensor, dw: Tensor, head: Tensor, bias: Tensor | None,
               positions: Tensor, rows: int, dtype: torch.dtype, need_hidden: bool, need_head: bool,
               need_bias: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of hidden [rows, D] in `dtype`, of head and of bias; empty where not needed.

    On CPU the hidden gradient is filled with zeros and the tagged rows are then copied in.
    """
    with reference.no_autocast():
        scale = (grad * inverse).to(dz.dtype)
        dhidden = head.new_empty(0, dtype=dtype)
        if need_hidden:
            dhidden = reference.hidden_gradient(dz * scale, reference.direction(head, dz.dtype), positions, rows, dtype)
        dhead = _signed(dw * scale, head) if need_head else head.new_empty(0)
        dbias = head.new_empty(0)
        if need_bias and bias is not None:
            dbias = _signed(dz.sum() * scale, bias)
        return dhidden, dhead, dbias


def _signed(gradient: Tensor, like: Tensor) -> Tensor:
    """The gradient of w+ - w- as that of the two rows (or of the only row) of `like`."""
    return torch.stack((gradient, -gradient) if like.shape[0] == 2 else (gradient,)).to(like.dtype)


step_loss_backward = torch.library.custom_op("erprm::step_loss_backward", _gradients, mutates_args=(),
                                             device_types="cpu")


@step_loss_backward.register_kernel("cuda")
def _(grad: Tensor, inverse: Tensor, dz: Tensor, dw: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor,
      rows: int, dtype: torch.dtype, need_hidden: bool, need_head: bool, need_bias: bool,
      ) -> tuple[Tensor, Tensor, Tensor]:
    from erprm.kernels.device import losses as device

    return device.step_loss_backward(grad, inverse, dz, dw, head, bias, positions, rows, dtype, need_hidden, need_head,
                                     need_bias)


@step_loss_backward.register_fake
def _(grad: Tensor, inverse: Tensor, dz: Tensor, dw: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor,
      rows: int, dtype: torch.dtype, need_hidden: bool, need_head: bool, need_bias: bool,
      ) -> tuple[Tensor, Tensor, Tensor]:
    dhidden = head.new_empty((rows, head.shape[1]) if need_hidden else (0,), dtype=dtype)
    dhead = head.new_empty(head.shape if need_head else (0,))
    dbias = bias.new_empty(bias.shape) if need_bias and bias is not None else head.new_empty(0)
    return dhidden, dhead, dbias


def _save(ctx: Any, inputs: tuple[Any, ...], output: Forward) -> None:
    hidden, head, bias, positions = inputs[:4]
    _, scores, dz, dw, inverse = output
    ctx.mark_non_differentiable(scores, dz, dw, inverse)
    ctx.rows, ctx.dtype, ctx.count = hidden.shape[0], hidden.dtype, len(inputs)
    ctx.save_for_backward(head, bias, positions, dz, dw, inverse)


def _backward(ctx: Any, grad: Tensor, *_: Tensor, operation: Any = step_loss_backward) -> tuple[Tensor | None, ...]:
    head, bias, positions, dz, dw, inverse = ctx.saved_tensors
    need = ctx.needs_input_grad
    gradients = operation(grad, inverse, dz, dw, head, bias, positions, ctx.rows, ctx.dtype, *need[:3])
    wanted = [gradient if needed else None for gradient, needed in zip(gradients, need[:3], strict=True)]
    return (*wanted, *(None,) * (ctx.count - 3))


step_loss.register_autograd(_backward, setup_context=_save)
step_loss_eager = eager.autograd_function("erprm::step_loss", _forward, _save, partial(_backward, operation=_gradients))
