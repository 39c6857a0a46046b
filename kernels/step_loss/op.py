"""The fused step loss: one operation from hidden states to loss and scores, for one or several etas.

    loss, scores = step_loss(hidden, head, positions, targets=v)                                    # [M] or [M, H]
    loss, scores = step_loss(hidden, head, positions, successes=k, trials=n, etas=(0.5, 2.0, 10.0))
    loss, scores = step_loss(hidden, head, positions, rewards=r, offsets=o, etas=(2.0,))
    loss.backward()
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, int32, int64, library

from erprm.errors import InputError
from erprm.kernels import checks
from erprm.kernels.head import op as head_op
from erprm.kernels.head.reference import Forward, Rows
from erprm.kernels.step_loss import reference


def step_loss(hidden: Tensor, head: Tensor, positions: Tensor, *, targets: Tensor | None = None,
              successes: Tensor | None = None, trials: Tensor | None = None, rewards: Tensor | None = None,
              offsets: Tensor | None = None, etas: Sequence[float] | None = None, weights: Tensor | None = None,
              normalizer: Tensor | None = None, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Soft-target cross-entropy on the pairs (+ of eta_h, -) at the step tags: ER-PRM's objective (arXiv 2412.11006).

        z_mh = h_m . (w_h - w_0) + (b_h - b_0)
        loss = sum_mh weight_m (softplus(z_mh) - v_mh z_mh) / (H normalizer)

    What is learnt is given as exactly one of `targets`, `successes` with `trials` and `etas`, or `rewards` with
    `offsets` and `etas`; v_mh is then (1/eta_h) ln mean exp(eta_h r) of step m (equation 7), worked out in the kernel.

    Args:
        hidden: [N, D] hidden states, any row stride. Differentiable.
        head: [1 + H, D]: row 0 is "-", row h the "+" of eta_h. Differentiable; its dtype may differ.
        positions: [M] int64, strictly increasing rows of `hidden` that hold a step tag.
        targets: [M, H] floating, v_mh in [0, 1], never rounded; or [M], the same for every margin.
        successes, trials: [M] int32 or int64, k ones in n completions.
        rewards: [R] in [0, 1], floating or uint8/bool; those of step m are rewards[offsets[m]:offsets[m + 1]].
        offsets: [M + 1] int64 from 0 to R.
        etas: H inverse temperatures, finite and distinct; 0 is the mean, a negative one the soft minimum.
        weights: [M] floating, not negative; 1 each by default.
        normalizer: 0-d, never read on the host; the sum of the weights by default. 0 gives a zero loss and gradients.
        bias: [1 + H] like `head`. Differentiable.

    Returns:
        loss, 0-d, and scores [M, H] = sigmoid(z) without gradient; float32 (float64 for float64 hidden states), also
        under autocast. With M = 0 the loss is 0 and keeps its graph.

    Raises:
        InputError: naming the argument. Values are read on CPU tensors only; see `erprm.kernels.checks`. On a GPU a
            position that is out of range or not above the one before makes the loss NaN, and a step without
            completions has weight 0 (and still counts in the default normaliser).
    """
    checks.check_rows(hidden, head, positions, bias)
    steps, margins = positions.shape[0], head.shape[0] - 1
    given = [name for name, tensor in (("targets", targets), ("successes", successes), ("rewards", rewards))
             if tensor is not None]
    if len(given) != 1:
        raise InputError("targets: expected one of targets, successes and rewards, found "
                         + (" and ".join(given) or "none"))
    for name, tensor, owner in (("trials", trials, "successes"), ("offsets", offsets, "rewards")):
        if (tensor is not None) != (given == [owner]):
            raise InputError(f"{name}: expected together with {owner}, found {'none' if tensor is None else given[0]}")
    scale = checks.check_scale(weights, normalizer, steps, hidden.device)
    shared = hidden, head, bias, positions
    need_head = head.requires_grad
    if targets is not None:
        if etas is not None:
            raise InputError("etas: expected only with successes or rewards, found them with targets")
        checks.check_tensor("targets", targets, [steps] if targets.dim() == 1 else [steps, margins],
                            checks.FLOAT_DTYPES, hidden.device)
        checks.check_constant("targets", targets)
        wide = targets.unsqueeze(1).expand(steps, margins) if targets.dim() == 1 else targets
        loss, scores = step_loss_targets(*shared, wide, scale, need_head)[:2]
        return loss, scores
    numbers = checks.check_etas(etas, margins)
    if successes is not None and trials is not None:
        for name, tensor in (("successes", successes), ("trials", trials)):
            checks.check_tensor(name, tensor, [steps], (int32, int64), hidden.device)
        loss, scores = step_loss_counts(*shared, [successes, trials], numbers, scale, need_head)[:2]
        return loss, scores
    assert rewards is not None
    assert offsets is not None
    checks.check_tensor("rewards", rewards, [None], checks.REWARD_DTYPES, hidden.device)
    checks.check_constant("rewards", rewards)
    checks.check_tensor("offsets", offsets, [steps + 1], (int64,), hidden.device)
    loss, scores = step_loss_rewards(*shared, [rewards, offsets], numbers, scale, need_head)[:2]
    return loss, scores


def _targets(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, targets: Tensor, scale: list[Tensor],
             need_head: bool) -> Forward:
    checks.check_targets(targets)
    return reference.forward(Rows.of(hidden, head, bias, positions, scale, need_head), targets)


def _counts(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, counts: list[Tensor],
            etas: list[float], scale: list[Tensor], need_head: bool) -> Forward:
    successes, trials = counts
    checks.check_counts(successes, trials, least=1)
    return reference.forward(Rows.of(hidden, head, bias, positions, scale, need_head),
                             reference.targets_of_counts(successes, trials, etas))


def _rewards(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, ragged: list[Tensor],
             etas: list[float], scale: list[Tensor], need_head: bool) -> Forward:
    rewards, offsets = ragged
    checks.check_offsets(offsets, rewards.numel())
    checks.check_rewards(rewards, unit=True)
    return reference.forward(Rows.of(hidden, head, bias, positions, scale, need_head),
                             reference.targets_of_rewards(rewards, offsets, etas))


step_loss_targets = library.custom_op("erprm::step_loss_targets", _targets, mutates_args=(), device_types="cpu")
step_loss_counts = library.custom_op("erprm::step_loss_counts", _counts, mutates_args=(), device_types="cpu")
step_loss_rewards = library.custom_op("erprm::step_loss_rewards", _rewards, mutates_args=(), device_types="cpu")


@step_loss_targets.register_kernel("cuda")
def _(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, targets: Tensor, scale: list[Tensor],
      need_head: bool) -> Forward:
    from erprm.kernels.step_loss import triton as device

    return device.from_targets(Rows.of(hidden, head, bias, positions, scale, need_head), targets)


@step_loss_counts.register_kernel("cuda")
def _(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, counts: list[Tensor], etas: list[float],
      scale: list[Tensor], need_head: bool) -> Forward:
    from erprm.kernels.step_loss import triton as device

    return device.from_counts(Rows.of(hidden, head, bias, positions, scale, need_head), counts[0], counts[1], etas)


@step_loss_rewards.register_kernel("cuda")
def _(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, ragged: list[Tensor], etas: list[float],
      scale: list[Tensor], need_head: bool) -> Forward:
    from erprm.kernels.step_loss import triton as device

    return device.from_rewards(Rows.of(hidden, head, bias, positions, scale, need_head), ragged[0], ragged[1], etas)


@step_loss_targets.register_fake
def _(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, targets: Tensor, scale: list[Tensor],
      need_head: bool) -> Forward:
    return head_op.fake(hidden, head, positions, need_head)


@step_loss_counts.register_fake
@step_loss_rewards.register_fake
def _(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, learnt: list[Tensor], etas: list[float],
      scale: list[Tensor], need_head: bool) -> Forward:
    return head_op.fake(hidden, head, positions, need_head)


for _operation in (step_loss_targets, step_loss_counts, step_loss_rewards):
    head_op.register_gradient(_operation)
