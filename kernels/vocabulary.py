"""The step loss over the whole vocabulary: for a PRM that stays a language model (Math-Shepherd, RLHFlow).

    loss, scores = vocab_step_loss(hidden, model.lm_head.weight, positions, targets, label_ids=(plus, minus))
"""

from __future__ import annotations

from torch import Tensor, int64

from erprm.errors import InputError
from erprm.kernels import checks
from erprm.kernels.losses import split_normalizer
from erprm.kernels.ops import eager
from erprm.kernels.ops import vocabulary as ops


def vocab_step_loss(hidden: Tensor, lm_head: Tensor, positions: Tensor, targets: Tensor, *,
                    label_ids: tuple[int, int], weights: Tensor | None = None,
                    normalizer: Tensor | float | None = None) -> tuple[Tensor, Tensor]:
    """-v ln p(+) - (1 - v) ln p(-), with p the softmax over all V tokens, at the step tags only.

    Logits are computed a block of rows at a time and never all of [M, V] are held. A frozen `lm_head` (one that
    requires no gradient) costs neither the time nor the memory of its gradient.

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
    if weights is not None:
        checks.check_constant("weights", weights)
        checks.check_tensor("weights", weights, [positions.shape[0]], checks.FLOAT_DTYPES, device)
    plus, minus = label_ids
    if plus == minus or not (0 <= plus < lm_head.shape[0] and 0 <= minus < lm_head.shape[0]):
        raise InputError(f"label_ids: expected two different ids in [0, {lm_head.shape[0]}), found {plus} and {minus}")
    tensor, value = split_normalizer(normalizer, device)
    operation = ops.vocab_step_loss_eager if eager.is_plain(hidden, lm_head) else ops.vocab_step_loss
    loss, scores = operation(hidden, lm_head, positions, targets, plus, minus, weights, tensor, value,
                             hidden.requires_grad, lm_head.requires_grad)[:2]
    return loss, scores
