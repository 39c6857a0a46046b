"""The soft-target cross-entropy on the GPU: what is learnt, as the kernels of `erprm.kernels.head` take it."""

from torch import Tensor

from erprm.kernels.head.reference import Forward, Rows
from erprm.kernels.head.triton import COUNTS, REWARDS, TARGETS, Learnt, forward


def from_targets(rows: Rows, targets: Tensor) -> Forward:
    """With targets [M, H]."""
    return forward(rows, Learnt(TARGETS, targets))


def from_counts(rows: Rows, successes: Tensor, trials: Tensor, etas: list[float]) -> Forward:
    """With k successes in n trials; a tag without trials has no weight."""
    return forward(rows, Learnt(COUNTS, successes, trials, tuple(etas)))


def from_rewards(rows: Rows, rewards: Tensor, offsets: Tensor, etas: list[float]) -> Forward:
    """With segments of rewards; a tag whose segment is empty has no weight."""
    return forward(rows, Learnt(REWARDS, rewards, offsets, tuple(etas)))
