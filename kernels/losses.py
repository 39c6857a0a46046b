"""The fused step losses: one operation from hidden states to loss and scores.

    loss, scores = step_loss(hidden, head, positions, targets)                                # soft targets in [0, 1]
    loss, scores = step_loss(hidden, head, positions, outcomes=r, offsets=o, eta=2.0)         # targets from completions
    loss, scores = beta_binomial_step_loss(hidden, head, positions, k, n, concentration=8.0)  # counts themselves
    loss.backward()
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from erprm.errors import InputError
from erprm.kernels import checks
from erprm.kernels.ops import eager
from erprm.kernels.ops import losses as ops


def step_loss(hidden: Tensor, head: Tensor, positions: Tensor, targets: Tensor | None = None, *,
              outcomes: Tensor | None = None, offsets: Tensor | None = None, eta: float | None = None,
              weights: Tensor | None = None, normalizer: Tensor | float | None = None, bias: Tensor | None = None,
              ) -> tuple[Tensor, Tensor]:
    """Soft-target cross-entropy on the pair (+, -) at the step tags; the objective of ER-PRM (arXiv 2412.11006).

        z_m = h_m . (w+ - w-) + (b+ - b-)     loss = sum_m weight_m (softplus(z_m) - v_m z_m) / normalizer

    Args:
        hidden: [N, D] hidden states, any row stride. Differentiable.
        head: [2, D], row 0 is w+ and row 1 is w-; or [1, D], their difference. Differentiable; its dtype may differ.
        positions: [M] int64, strictly increasing rows of `hidden` that hold a step tag (or every response token).
        targets: [M] floating, v_m in [0, 1]; never rounded. Or, instead of targets:
        outcomes, offsets, eta: completions' outcomes [R] in [0, 1], [M + 1] int64 segments and the inverse
            temperature; v_m is their `log_mean_exp`, computed in the same kernel.
        weights: [M] floating, not negative; 1 each by default.
        normalizer: a number, or a 0-d tensor on the device (never read on the host); by default the sum of the weights.
            Zero gives a zero loss and zero gradients.
        bias: [2] or [1] like `head`. Differentiable.

    Returns:
        loss, 0-d, and scores [M] = sigmoid(z) without gradient; float32 (float64 for float64 hidden states), also
        under autocast. With M = 0 the loss is 0 and keeps its graph.

    Raises:
        InputError: naming the argument. Values are read on CPU tensors only; see `erprm.kernels.checks`. On a GPU a
            position out of range makes the loss NaN, and a segment without outcomes has weight 0.
    """
    _check_rows(hidden, head, positions, weights, bias)
    steps = positions.shape[0]
    if (targets is None) == (outcomes is None):
        raise InputError("targets: expected either targets or outcomes with offsets and eta, found "
                         + ("neither" if targets is None else "both"))
    checks.check_constant("targets", targets)
    checks.check_constant("outcomes", outcomes)
    if targets is not None:
        if offsets is not None or eta is not None:
            raise InputError("offsets and eta: expected only together with outcomes, found targets")
        checks.check_tensor("targets", targets, [steps], checks.FLOAT_DTYPES, hidden.device)
    elif outcomes is not None:
        if offsets is None or eta is None:
            raise InputError(f"{'offsets' if offsets is None else 'eta'}: expected together with outcomes, found None")
        checks.check_tensor("outcomes", outcomes, [None], checks.OUTCOME_DTYPES, hidden.device)
        checks.check_tensor("offsets", offsets, [steps + 1], (torch.int64,), hidden.device)
        checks.check_eta(eta)
    tensor, value = split_normalizer(normalizer, hidden.device)
    operation = ops.step_loss_eager if eager.is_plain(hidden, head) else ops.step_loss
    loss, scores = operation(hidden, head, bias, positions, targets, outcomes, offsets, float(eta or 0.0), None, None,
                             0.0, weights, tensor, value, head.requires_grad)[:2]
    return loss, scores


def beta_binomial_step_loss(hidden: Tensor, head: Tensor, positions: Tensor, successes: Tensor, trials: Tensor,
                            concentration: float, *, weights: Tensor | None = None,
                            normalizer: Tensor | float | None = None, bias: Tensor | None = None,
                            ) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of the counts: -ln BetaBinomial(k | n, mu s, (1 - mu) s) at mu = sigmoid(z).

    Args:
        hidden, head, positions, weights, normalizer, bias: as for `step_loss`.
        successes, trials: [M] int32 or int64, 0 <= k <= n; a step with n = 0 adds nothing to the sum.
        concentration: s > 0, in completions; large is the binomial likelihood.

    Returns:
        loss (nats), 0-d, and scores mu [M], as for `step_loss`.

    Raises:
        InputError: naming the argument.
    """
    _check_rows(hidden, head, positions, weights, bias)
    if not (isinstance(concentration, (int, float)) and math.isfinite(concentration) and concentration > 0):
        raise InputError(f"concentration: expected a finite number above 0, found {concentration!r}")
    for name, counts in (("successes", successes), ("trials", trials)):
        checks.check_tensor(name, counts, [positions.shape[0]], (torch.int32, torch.int64), hidden.device)
    tensor, value = split_normalizer(normalizer, hidden.device)
    operation = ops.step_loss_eager if eager.is_plain(hidden, head) else ops.step_loss
    loss, scores = operation(hidden, head, bias, positions, None, None, None, 0.0, successes, trials,
                             float(concentration), weights, tensor, value, head.requires_grad)[:2]
    return loss, scores


def split_normalizer(normalizer: Tensor | float | None, device: torch.device) -> tuple[Tensor | None, float | None]:
    """A normaliser as (0-d tensor, None) or (None, number). Raises InputError."""
    if normalizer is None:
        return None, None
    if isinstance(normalizer, Tensor):
        checks.check_constant("normalizer", normalizer)
        checks.check_tensor("normalizer", normalizer, [], (*checks.FLOAT_DTYPES, torch.int64, torch.int32), device)
        return normalizer, None
    if not (math.isfinite(normalizer) and normalizer >= 0):
        raise InputError(f"normalizer: expected a finite number of at least 0, found {normalizer!r}")
    return None, float(normalizer)


def _check_rows(hidden: Tensor, head: Tensor, positions: Tensor, weights: Tensor | None, bias: Tensor | None) -> None:
    device = hidden.device
    checks.check_tensor("hidden", hidden, [None, None], checks.FLOAT_DTYPES, device)
    checks.check_tensor("head", head, [2 if head.shape[0] == 2 else 1, hidden.shape[1]], checks.FLOAT_DTYPES, device)
    checks.check_tensor("positions", positions, [None], (torch.int64,), device)
    if weights is not None:
        checks.check_constant("weights", weights)
        checks.check_tensor("weights", weights, [positions.shape[0]], checks.FLOAT_DTYPES, device)
    if bias is not None:
        checks.check_tensor("bias", bias, [head.shape[0]], checks.FLOAT_DTYPES, device)
