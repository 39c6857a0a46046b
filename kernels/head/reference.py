"""Margins and gradients of a [1 + H, D] head in plain PyTorch: the CPU path, and what the kernels are tested against.

Row 0 of the head is "-", row h is the "+" of margin h: z_mh = h_m . (w_h - w_0) + (b_h - b_0). A loss is a function of
the margins; with its derivative dz, already times weight / normalizer,

    dh_m = sum_h dz_mh (w_h - w_0)      dw_h = sum_m dz_mh h_m      dw_0 = -sum_h dw_h      db likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from erprm.kernels import checks

Forward = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""loss 0-d; scores [M, H]; dz [M, H], weighted and normalised; shares of dw [P, H, D], empty unless needed; db [H]."""

Terms = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Margins z [M, H] into losses (summed over everything with weights [M, 1]), their derivatives in z, and scores."""


@dataclass(frozen=True)
class Rows:
    """What every loss on a few head rows reads.

    Attributes:
        hidden: [N, D].
        head: [1 + H, D].
        bias: [1 + H] or None.
        positions: [M] int64, increasing.
        normalizer: 0-d.
        weights: [M] or None for 1 each.
        need_head: whether the head's gradient is wanted.
    """

    hidden: Tensor
    head: Tensor
    bias: Tensor | None
    positions: Tensor
    normalizer: Tensor
    weights: Tensor | None
    need_head: bool

    @classmethod
    def of(cls, hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, scale: list[Tensor],
           need_head: bool) -> Rows:
        """From the arguments of a registered operation; `scale`: the normaliser, and the weights if there are any."""
        return cls(hidden, head, bias, positions, scale[0], scale[1] if len(scale) > 1 else None, need_head)


def compute_dtype(hidden: Tensor) -> torch.dtype:
    """float64 for float64 inputs, float32 for all others."""
    return torch.float64 if hidden.dtype == torch.float64 else torch.float32


def no_autocast() -> AbstractContextManager[object]:
    """Keeps autocast from rounding inside an operation; costs nothing where it is off."""
    return torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext()


def directions(head: Tensor, dtype: torch.dtype) -> Tensor:
    """w_h - w_0 [H, D] of a [1 + H, D] head, or the same of a bias, unrounded."""
    wide = head.to(dtype)
    return wide[1:] - wide[0]


def inverse(normalizer: Tensor, dtype: torch.dtype) -> Tensor:
    """1 / normalizer in `dtype`; 0 for a normaliser of 0."""
    total = normalizer.to(dtype)
    return torch.where(total == 0, 0.0, 1.0 / total).to(dtype)


def evaluate(rows: Rows, terms: Terms, share: float) -> Forward:
    """The loss of `terms` at the margins; `share`: what a term is multiplied by besides weight / normalizer."""
    checks.check_positions(rows.positions, rows.hidden.shape[0])
    if rows.weights is not None:
        checks.check_weights(rows.weights)
    dtype = compute_dtype(rows.hidden)
    with no_autocast():
        every = rows.positions.shape[0] == rows.hidden.shape[0]  # increasing, so they are 0, 1, 2, ...
        tagged = (rows.hidden if every else rows.hidden.index_select(0, rows.positions)).to(dtype)
        vectors = directions(rows.head, dtype)
        z = torch.mv(tagged, vectors[0]).unsqueeze(1) if len(vectors) == 1 else tagged @ vectors.T
        if rows.bias is not None:
            z += directions(rows.bias, dtype)
        losses, dz, scores = terms(z)
        if rows.weights is not None:
            weight = rows.weights.to(dtype).unsqueeze(1)
            losses, dz = losses * weight, dz * weight
        scale = share * inverse(rows.normalizer, dtype)
        dw = dz.new_empty(0)
        if rows.need_head:
            dw = torch.mv(tagged.T, dz[:, 0]).unsqueeze(0) if len(vectors) == 1 else dz.T @ tagged
            dw = (dw * scale).unsqueeze(0)
        return losses.sum() * scale, scores, dz * scale, dw, dz.sum(dim=0) * scale


def gradients(grad: Tensor, saved: list[Tensor], head: Tensor, bias: Tensor | None, positions: Tensor, rows: int,
              dtype: torch.dtype, need: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of hidden [rows, D] in `dtype`, of head and of bias; empty where not needed.

    Args:
        grad: 0-d, of the loss.
        saved: dz, dw and db as `Forward` has them.
        need: whether that of hidden, head and bias is wanted.
    """
    dz, dw, db = saved
    dhidden, dhead, dbias = head.new_empty(0, dtype=dtype), head.new_empty(0), head.new_empty(0)
    with no_autocast():
        scale = grad.to(dz.dtype)
        if need[0]:
            tagged = ((dz * scale) @ directions(head, dz.dtype)).to(dtype)
            dhidden = tagged if positions.shape[0] == rows else tagged.new_zeros(
                (rows, head.shape[1])).index_copy_(0, positions, tagged)
        if need[1]:
            dhead = _with_minus(dw.sum(dim=0) * scale).to(head.dtype)
        if need[2] and bias is not None:
            dbias = _with_minus(db * scale).to(bias.dtype)
    return dhidden, dhead, dbias


def _with_minus(gradient: Tensor) -> Tensor:
    """The gradients of w_h - w_0 [H, ...] as those of the rows [1 + H, ...]."""
    return torch.cat((-gradient.sum(dim=0, keepdim=True), gradient))
