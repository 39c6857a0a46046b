"""The likelihood of the counts themselves, with the concentration fixed or predicted.

    loss, (mu, kappa) = counts_loss(hidden, head, positions, successes=k, trials=n, concentration=8.0)   # head [2, D]
    loss, (mu, kappa) = counts_loss(hidden, head, positions, successes=k, trials=n)                      # head [3, D]
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, library

from erprm.errors import InputError
from erprm.kernels import checks
from erprm.kernels.counts_loss import reference
from erprm.kernels.head import op as head_op
from erprm.kernels.head.reference import Forward, Rows


def counts_loss(hidden: Tensor, head: Tensor, positions: Tensor, *, successes: Tensor, trials: Tensor,
                concentration: float | None = None, weights: Tensor | None = None, normalizer: Tensor | None = None,
                bias: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Negative log-likelihood of the counts: -ln BetaBinomial(k | n, mu kappa, (1 - mu) kappa), in nats.

    mu = sigmoid(z_m1) with z_mh = h_m . (w_h - w_0); kappa is the concentration, or without one softplus(z_m2) + 1e-3:
    the third row of the head then says how sure the model is.

    Args:
        hidden, positions, weights, normalizer: as for `step_loss`.
        head, bias: [2, D] and [2], or [3, D] and [3] where the concentration is predicted. Differentiable.
        successes, trials: [M] int32 or int64, 0 <= k <= n; a step with n = 0 adds nothing to the sum.
        concentration: in completions, above 0; large is the binomial likelihood.

    Returns:
        loss, 0-d, and (mu, kappa), each [M] without gradient; dtypes as for `step_loss`.

    Raises:
        InputError: naming the argument.
    """
    checks.check_rows(hidden, head, positions, bias)
    if concentration is not None and not (isinstance(concentration, (int, float)) and math.isfinite(concentration)
                                          and concentration > 0):
        raise InputError(f"concentration: expected a finite number above 0, found {concentration!r}")
    rows = 3 if concentration is None else 2
    if head.shape[0] != rows:
        raise InputError(f"head: expected {rows} rows {'without' if rows == 3 else 'with'} a concentration, "
                         f"found {head.shape[0]}")
    for name, counts in (("successes", successes), ("trials", trials)):
        checks.check_tensor(name, counts, [positions.shape[0]], (torch.int32, torch.int64), hidden.device)
    scale = checks.check_scale(weights, normalizer, positions.shape[0], hidden.device)
    loss, scores = counts_loss_op(hidden, head, bias, positions, [successes, trials],
                                  None if concentration is None else float(concentration), scale,
                                  head.requires_grad)[:2]
    return loss, (scores[:, 0], torch.full_like(scores[:, 0], concentration) if concentration else scores[:, 1])


def _counts_loss(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, counts: list[Tensor],
                 concentration: float | None, scale: list[Tensor], need_head: bool) -> Forward:
    successes, trials = counts
    checks.check_counts(successes, trials)
    return reference.forward(Rows.of(hidden, head, bias, positions, scale, need_head), successes, trials, concentration)


counts_loss_op = library.custom_op("erprm::counts_loss", _counts_loss, mutates_args=(), device_types="cpu")


@counts_loss_op.register_kernel("cuda")
def _(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, counts: list[Tensor],
      concentration: float | None, scale: list[Tensor], need_head: bool) -> Forward:
    from erprm.kernels.counts_loss import triton as device

    rows = Rows.of(hidden, head, bias, positions, scale, need_head)
    return device.forward(rows, counts[0], counts[1], concentration)


@counts_loss_op.register_fake
def _(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, counts: list[Tensor],
      concentration: float | None, scale: list[Tensor], need_head: bool) -> Forward:
    return head_op.fake(hidden, head, positions, need_head)


head_op.register_gradient(counts_loss_op)
