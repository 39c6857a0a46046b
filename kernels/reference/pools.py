"""Reductions of step scores per solution, and the best candidate per problem, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

MIN, MEAN, PRODUCT, LAST = 0, 1, 2, 3
HOW = {"min": MIN, "mean": MEAN, "product": PRODUCT, "last": LAST}
_NAMES = {MIN: "min", MEAN: "mean", PRODUCT: "prod"}


def segment_reduce(scores: Tensor, offsets: Tensor, how: int) -> Tensor:
    """[M] scores into [S] values of the scores' dtype; means and products are computed in float64."""
    if how == LAST:
        return scores[offsets[1:] - 1]
    wide = scores if how == MIN else scores.to(torch.float64)
    return torch.segment_reduce(wide, _NAMES[how], offsets=offsets, axis=0, unsafe=True).to(scores.dtype)


def segment_reduce_backward(grad: Tensor, scores: Tensor, offsets: Tensor, how: int) -> Tensor:
    """The gradient [M] of the step scores. The minimum's goes to its first place; a product with zeros is exact."""
    lengths = offsets.diff()
    result = torch.zeros(scores.shape, dtype=torch.float64)
    wide = grad.to(torch.float64)
    if how == LAST:
        result[offsets[1:] - 1] = wide
    elif how == MEAN:
        result = (wide / lengths).repeat_interleave(lengths)
    elif how == MIN:
        low = segment_reduce(scores, offsets, MIN).repeat_interleave(lengths)
        index = torch.arange(scores.numel())
        first = torch.where(scores == low, index, scores.numel()).to(torch.float64)
        result[torch.segment_reduce(first, "min", offsets=offsets, axis=0, unsafe=True).long()] = wide
    else:
        values = scores.to(torch.float64)
        zero = values == 0
        zeros = torch.segment_reduce(zero.double(), "sum", offsets=offsets, axis=0, unsafe=True)
        others = torch.segment_reduce(torch.where(zero, 1.0, values), "prod", offsets=offsets, axis=0, unsafe=True)
        spread, share = zeros.repeat_interleave(lengths), (others * wide).repeat_interleave(lengths)
        result = torch.where(spread == 0, share / torch.where(zero, 1.0, values),
                             torch.where((spread == 1) & zero, share, 0.0))
    return result.to(scores.dtype)


def best_of_n(scores: Tensor) -> Tensor:
    """[P, N] scores into [P] int64: the first of the best."""
    return scores.max(dim=1).indices if scores.numel() else torch.zeros(scores.shape[0], dtype=torch.int64)
