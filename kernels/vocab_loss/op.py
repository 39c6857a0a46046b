"""The step loss over the whole vocabulary: for a PRM that stays a language model (Math-Shepherd, RLHFlow).

    loss, scores = vocab_loss(hidden, model.lm_head.weight, positions, targets=v, label_ids=(plus, minus))
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, int64, library

from erprm.errors import InputError
from erprm.kernels import checks
from erprm.kernels.head.reference import compute_dtype, inverse, no_autocast
from erprm.kernels.vocab_loss import reference

Forward = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def vocab_loss(hidden: Tensor, lm_head: Tensor, positions: Tensor, *, targets: Tensor, label_ids: tuple[int, int],
               weights: Tensor | None = None, normalizer: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """-v ln p(+) - (1 - v) ln p(-), with p the softmax over all V tokens, at the step tags only.

    Logits are computed a block of rows at a time and never all of [M, V] are held. A frozen `lm_head` (one that
    requires no gradient) costs neither the time nor the memory of its gradient. On a GPU the matrix products are in
    autocast's dtype, or in the narrower one of hidden and lm_head, and sums and logits in float32.

    Args:
        hidden: [N, D] hidden states. Differentiable.
        lm_head: [V, D] output embedding. Differentiable.
        positions: [M] int64, strictly increasing rows of `hidden` that hold a step tag.
        targets: [M] floating, v_m in [0, 1].
        label_ids: token ids of " +" and " -", different, in [0, V).
        weights, normalizer: as for `step_loss`.

    Returns:
        loss, 0-d, and scores [M] = p(+) / (p(+) + p(-)) without gradient; float32 (float64 for float64 hidden states).

    Raises:
        InputError: naming the argument.
    """
    device = hidden.device
    checks.check_tensor("hidden", hidden, [None, None], checks.FLOAT_DTYPES, device)
    checks.check_tensor("lm_head", lm_head, [None, hidden.shape[1]], checks.FLOAT_DTYPES, device)
    checks.check_tensor("positions", positions, [None], (int64,), device)
    checks.check_tensor("targets", targets, [positions.shape[0]], checks.FLOAT_DTYPES, device)
    checks.check_constant("targets", targets)
    plus, minus = label_ids
    if plus == minus or not (0 <= plus < lm_head.shape[0] and 0 <= minus < lm_head.shape[0]):
        raise InputError(f"label_ids: expected two different ids in [0, {lm_head.shape[0]}), found {plus} and {minus}")
    scale = checks.check_scale(weights, normalizer, positions.shape[0], device)
    loss, scores = vocab_loss_op(hidden, lm_head, positions, targets, [plus, minus], scale,
                                 [hidden.requires_grad, lm_head.requires_grad])[:2]
    return loss, scores


def _forward(hidden: Tensor, lm_head: Tensor, positions: Tensor, targets: Tensor, labels: list[int],
             scale: list[Tensor], need: list[bool]) -> Forward:
    """Loss (0-d), scores [M], weighted gradients of the tagged rows [M, D] and of lm_head [V, D] (empty unless needed),
    and 1 / normalizer (0-d), which they are still to be multiplied by."""
    checks.check_positions(positions, hidden.shape[0])
    checks.check_targets(targets)
    if len(scale) > 1:
        checks.check_weights(scale[1])
    dtype = compute_dtype(hidden)
    with no_autocast():
        rows = hidden.index_select(0, positions).to(dtype)
        weight = scale[1].to(dtype) if len(scale) > 1 else rows.new_ones(rows.shape[0])
        losses, margins, drows, dhead = reference.forward(rows, lm_head, targets.to(dtype), weight, labels, need)
        factor = inverse(scale[0], dtype)
        return (losses * weight).sum() * factor, torch.sigmoid(margins), drows, dhead, factor


vocab_loss_op = library.custom_op("erprm::vocab_loss", _forward, mutates_args=(), device_types="cpu")


@vocab_loss_op.register_kernel("cuda")
def _(hidden: Tensor, lm_head: Tensor, positions: Tensor, targets: Tensor, labels: list[int], scale: list[Tensor],
      need: list[bool]) -> Forward:
    from erprm.kernels.vocab_loss import triton as device

    return device.forward(hidden, lm_head, positions, targets, labels, scale, need)


@vocab_loss_op.register_fake
def _(hidden: Tensor, lm_head: Tensor, positions: Tensor, targets: Tensor, labels: list[int], scale: list[Tensor],
      need: list[bool]) -> Forward:
    dtype, steps, new = compute_dtype(hidden), positions.shape[0], hidden.new_empty
    return (new((), dtype=dtype), new(steps, dtype=dtype),
            new((steps, hidden.shape[1]) if need[0] else (0,), dtype=dtype),
            new(lm_head.shape if need[1] else (0,), dtype=dtype), new((), dtype=dtype))


def _gradients(grad: Tensor, saved: list[Tensor], positions: Tensor, rows: int, hidden_dtype: torch.dtype,
               head_dtype: torch.dtype, need: list[bool]) -> tuple[Tensor, Tensor]:
    """Gradients of hidden [rows, D] and lm_head [V, D] in their dtypes; empty where not needed. On every device.

    Args:
        saved: the last three results of the forward operation.
    """
    drows, dhead, factor = saved
    scale = grad.to(factor.dtype) * factor
    results = []
    for gradient, dtype, needed in ((drows, hidden_dtype, need[0]), (dhead, head_dtype, need[1])):
        results.append(torch.mul(gradient, scale, out=gradient.new_empty(gradient.shape if needed else 0, dtype=dtype))
                       if needed else gradient.new_empty(0, dtype=dtype))  # scaled and cast in one pass
    if need[0]:
        results[0] = drows.new_zeros((rows, drows.shape[1]), dtype=hidden_dtype).index_copy_(0, positions, results[0])
    return results[0], results[1]


vocab_loss_gradients = library.custom_op("erprm::vocab_loss_gradients", _gradients, mutates_args=())


@vocab_loss_gradients.register_fake
def _(grad: Tensor, saved: list[Tensor], positions: Tensor, rows: int, hidden_dtype: torch.dtype,
      head_dtype: torch.dtype, need: list[bool]) -> tuple[Tensor, Tensor]:
    drows, dhead, _ = saved
    return (drows.new_empty((rows, drows.shape[1]) if need[0] else (0,), dtype=hidden_dtype),
            dhead.new_empty(dhead.shape if need[1] else (0,), dtype=head_dtype))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Forward) -> None:
    hidden, lm_head, positions, _, _, scale, _ = inputs
    _, scores, drows, dhead, factor = output
    ctx.mark_non_differentiable(scores, drows, dhead, factor)
    ctx.rows, ctx.dtypes, ctx.scales = hidden.shape[0], (hidden.dtype, lm_head.dtype), len(scale)
    ctx.save_for_backward(positions, drows, dhead, factor)


def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Any, ...]:
    positions, *saved = ctx.saved_tensors
    need = list(ctx.needs_input_grad[:2])
    gradients = vocab_loss_gradients(grad, saved, positions, ctx.rows, *ctx.dtypes, need)
    wanted = [gradient if needed else None for gradient, needed in zip(gradients, need, strict=True)]
    return (*wanted, None, None, None, [None] * ctx.scales, None)


vocab_loss_op.register_autograd(_backward, setup_context=_save)
