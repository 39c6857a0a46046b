"""The soft-target cross-entropy in plain PyTorch, with its derivative in z, stable for every |z|.

With z = h . (w_h - w_0) and e = exp(-|z|):

    loss = softplus(z) - v z = |z| (1 - v if z > 0 else v) + log1p(e)       no cancellation at z = 1e4, v near 1
    dz   = sigmoid(z) - v    = (1 - v) - e / (1 + e) if z > 0 else e / (1 + e) - v
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from erprm.kernels.head.reference import Forward, Rows, evaluate
from erprm.kernels.log_mean_exp.reference import counts_value, log_mean_exp


def binary_loss(z: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Soft-target cross-entropy of sigmoid(z) and its derivative in z; z and targets of one shape."""
    size = z.abs()
    below = size.neg()
    positive = z > 0
    miss = torch.where(positive, 1 - targets, targets)
    loss = softplus(below).addcmul_(size, miss)  # log1p(exp(-|z|)) in one pass
    slope = miss.sub_(below.sigmoid_())
    return loss, torch.where(positive, slope, slope.neg())


def forward(rows: Rows, targets: Tensor) -> Forward:
    """The mean over the H margins of the loss with targets [M, H]."""
    def terms(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        losses, slopes = binary_loss(z, targets.to(z.dtype))
        return losses, slopes, z.sigmoid()

    return evaluate(rows, terms, 1 / (rows.head.shape[0] - 1))


def targets_of_counts(successes: Tensor, trials: Tensor, etas: list[float]) -> Tensor:
    """Soft values [M, H] float64 of k successes in n trials."""
    return torch.stack([counts_value(successes, trials, eta)[0] for eta in etas], dim=1)


def targets_of_rewards(rewards: Tensor, offsets: Tensor, etas: list[float]) -> Tensor:
    """Soft values [M, H] float64 of the segments."""
    return log_mean_exp(rewards, offsets, etas)[0].T
