"""Registered operation: the fused step loss, `erprm::step_loss`.

One operation per training step in each direction. The forward pass reads each tagged hidden row once: from it come the
score, the loss, dz and, when the head is trained, the head's gradient (the loss is linear in its own gradient, so it is
only scaled later). The backward pass writes the hidden gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, library

from erprm.kernels import checks
from erprm.kernels.ops import eager
from erprm.kernels.reference import losses as reference
from erprm.kernels.reference import targets as reference_targets

Forward = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
Parts = tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | float, Tensor]


def _parts(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, targets: Tensor | None,
           outcomes: Tensor | None, offsets: Tensor | None, eta: float, successes: Tensor | None,
           trials: Tensor | None, concentration: float, weights: Tensor | None, normalizer: Tensor | None,
           normalizer_value: float | None, need_head: bool) -> Parts:
    """Loss (0-d), scores [M], weighted dz [M], dw = sum dz h [D] (None unless needed), 1 / normalizer (0-d or number)
    and w+ - w- [D].

    Exactly one of `targets` [M], `outcomes` [R] with `offsets` [M + 1], and `successes` with `trials` [M] is given.
    """
    checks.check_positions(positions, hidden.shape[0])
    if weights is not None:
        checks.check_weights(weights)
    dtype = reference.compute_dtype(hidden)
    with reference.no_autocast():
        rows = reference.cast(reference.tagged(hidden, positions), dtype)
        vector = reference.direction(head, dtype)
        z = torch.mv(rows, vector)
        if bias is not None:
            z += reference.direction(bias, dtype)
        if successes is not None and trials is not None:
            checks.check_counts(successes, trials)
            losses, dz = reference.counts_loss(z, successes, trials, concentration)
        else:
            losses, dz = reference.binary_loss(z, _targets(targets, outcomes, offsets, eta, dtype))
        weight = None if weights is None else reference.cast(weights, dtype)
        inverse = reference.inverse_normalizer(weight, z, normalizer, normalizer_value)
        if weight is not None:
            losses.mul_(weight)
            dz.mul_(weight)
        dw = torch.mv(rows.t(), dz) if need_head else None
        return losses.sum().mul_(inverse), z.sigmoid_(), dz, dw, inverse, vector


def _forward(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, targets: Tensor | None,
             outcomes: Tensor | None, offsets: Tensor | None, eta: float, successes: Tensor | None,
             trials: Tensor | None, concentration: float, weights: Tensor | None, normalizer: Tensor | None,
             normalizer_value: float | None, need_head: bool) -> Forward:
    """The first five of `_parts`, all as tensors (dw empty unless needed)."""
    loss, scores, dz, dw, inverse, _ = _parts(hidden, head, bias, positions, targets, outcomes, offsets, eta, successes,
                                              trials, concentration, weights, normalizer, normalizer_value, need_head)
    return (loss, scores, dz, dz.new_empty(0) if dw is None else dw,
            inverse if isinstance(inverse, Tensor) else dz.new_full((), inverse))


def _targets(targets: Tensor | None, outcomes: Tensor | None, offsets: Tensor | None, eta: float, dtype: torch.dtype,
             ) -> Tensor:
    if targets is not None:
        checks.check_targets(targets)
        return reference.cast(targets, dtype)
    assert outcomes is not None
    assert offsets is not None
    checks.check_offsets(offsets, outcomes.numel())
    checks.check_outcomes(outcomes, unit=True)
    values, _, _ = reference_targets.log_mean_exp(outcomes, offsets, [eta])
    return values[0].to(dtype)


step_loss = library.custom_op("erprm::step_loss", _forward, mutates_args=(), device_types="cpu")


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


def _scaled(grad: Tensor, inverse: Tensor | float, dz: Tensor, dw: Tensor | None, vector: Tensor | None, head: Tensor,
            bias: Tensor | None, positions: Tensor, rows: int, dtype: torch.dtype, need_hidden: bool, need_head: bool,
            need_bias: bool) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of hidden [rows, D] in `dtype`, of head and of bias; None where not needed. `vector` is w+ - w- [D].

    On CPU the hidden gradient is filled with zeros and the tagged rows are then copied in.
    """
    with reference.no_autocast():
        scale = reference.cast(grad * inverse, dz.dtype)
        dhidden = dhead = dbias = None
        if need_hidden:
            vector = reference.direction(head, dz.dtype) if vector is None else vector
            dhidden = reference.hidden_gradient(dz * scale, vector, positions, rows, dtype)
        if need_head and dw is not None:
            dhead = _signed(dw * scale, head)
        if need_bias and bias is not None:
            dbias = _signed(dz.sum() * scale, bias)
        return dhidden, dhead, dbias


def _gradients(grad: Tensor, inverse: Tensor, dz: Tensor, dw: Tensor, head: Tensor, bias: Tensor | None,
               positions: Tensor, rows: int, dtype: torch.dtype, need_hidden: bool, need_head: bool,
               need_bias: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `_scaled`; empty where not needed."""
    dhidden, dhead, dbias = _scaled(grad, inverse, dz, dw, None, head, bias, positions, rows, dtype, need_hidden,
                                    need_head, need_bias)
    return (head.new_empty(0, dtype=dtype) if dhidden is None else dhidden,
            head.new_empty(0) if dhead is None else dhead, head.new_empty(0) if dbias is None else dbias)


def _signed(gradient: Tensor, like: Tensor) -> Tensor:
    """The gradient of w+ - w- as that of the two rows (or of the only row) of `like`."""
    pair = torch.cat((gradient.view(-1), gradient.view(-1).neg())) if like.shape[0] == 2 else gradient
    return reference.cast(pair.view(like.shape), like.dtype)


step_loss_backward = library.custom_op("erprm::step_loss_backward", _gradients, mutates_args=(), device_types="cpu")


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
    ctx.mark_non_differentiable(*output[1:])
    ctx.rows, ctx.dtype, ctx.count = hidden.shape[0], hidden.dtype, len(inputs)
    ctx.save_for_backward(head, bias, positions, *output[2:])


def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    head, bias, positions, dz, dw, inverse = ctx.saved_tensors
    need = ctx.needs_input_grad
    gradients = step_loss_backward(grad, inverse, dz, dw, head, bias, positions, ctx.rows, ctx.dtype, *need[:3])
    wanted = [gradient if needed else None for gradient, needed in zip(gradients, need[:3], strict=True)]
    return (*wanted, *(None,) * (ctx.count - 3))


step_loss.register_autograd(_backward, setup_context=_save)


def _save_eager(ctx: Any, inputs: tuple[Any, ...], output: Parts) -> None:
    hidden, head, bias, positions = inputs[:4]
    _, scores, dz, dw, inverse, vector = output
    ctx.mark_non_differentiable(scores)
    ctx.rows, ctx.dtype, ctx.number = hidden.shape[0], hidden.dtype, None if isinstance(inverse, Tensor) else inverse
    ctx.save_for_backward(head, bias, positions, dz, dw, vector, inverse if ctx.number is None else None)


def _backward_eager(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    head, bias, positions, dz, dw, vector, inverse = ctx.saved_tensors
    return _scaled(grad, inverse if ctx.number is None else ctx.number, dz, dw, vector, head, bias, positions, ctx.rows,
                   ctx.dtype, *ctx.needs_input_grad[:3])


step_loss_eager = eager.autograd_function("erprm::step_loss", _parts, _save_eager, _backward_eager, leaves=3, results=2)
