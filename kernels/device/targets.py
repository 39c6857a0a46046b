# mypy: disable-error-code="no-untyped-def"
"""Segment log-mean-exp on the GPU: ragged outcomes into soft values, for one or several eta.

A program takes BLOCK_S neighbouring segments as a tile of BLOCK_S x BLOCK_R lanes and walks along them; BLOCK_R follows
the mean segment length, so that short segments fill the lanes and long ones are read in wide rows.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from erprm.kernels.device.maths import segment_value

TILE = 512


@triton.jit
def log_mean_exp_kernel(
    outcomes, offsets, etas, values, extremes, logs,  # [R], [S + 1] int64, [H] float32, three times [H, S] float32
    S, H,
    BLOCK_S: tl.constexpr, BLOCK_R: tl.constexpr, BINARY: tl.constexpr,
):
    segment = tl.program_id(0).to(tl.int64) * BLOCK_S + tl.arange(0, BLOCK_S)
    valid = segment < S
    start = tl.load(offsets + segment, mask=valid, other=0)
    length = tl.load(offsets + segment + 1, mask=valid, other=0) - start
    place = segment
    for h in range(H):
        eta = tl.load(etas + h)
        value, extreme, log = segment_value(outcomes, start, length, eta, BLOCK_S, BLOCK_R, BINARY)
        tl.store(values + place, value, mask=valid)
        tl.store(extremes + place, extreme, mask=valid)
        tl.store(logs + place, log, mask=valid)
        place += S


@triton.jit
def log_mean_exp_backward_kernel(
    grad, outcomes, offsets, etas, extremes, logs, result,  # [H, S], [R], [S + 1], [H], [H, S], [H, S], [R]
    S, H,
    BLOCK_S: tl.constexpr, BLOCK_R: tl.constexpr,
):
    segment = tl.program_id(0).to(tl.int64) * BLOCK_S + tl.arange(0, BLOCK_S)
    valid = segment < S
    start = tl.load(offsets + segment, mask=valid, other=0)
    length = tl.load(offsets + segment + 1, mask=valid, other=0) - start
    size = tl.maximum(length.to(tl.float32), 1.0)
    lane = tl.arange(0, BLOCK_R)
    for begin in range(0, tl.max(length, axis=0), BLOCK_R):
        inside = (begin + lane)[None, :] < length[:, None]
        place = start[:, None] + (begin + lane)[None, :]
        r = tl.load(outcomes + place, mask=inside, other=0.0).to(tl.float32)
        total = tl.zeros((BLOCK_S, BLOCK_R), dtype=tl.float32)
        row = segment
        for h in range(H):
            eta = tl.load(etas + h)
            share = tl.load(grad + row, mask=valid, other=0.0).to(tl.float32) / size
            extreme = tl.load(extremes + row, mask=valid, other=0.0)
            log = tl.load(logs + row, mask=valid, other=0.0)
            total += share[:, None] * tl.exp(eta * (r - extreme[:, None]) - log[:, None])
            row += S
        tl.store(result + place, total.to(result.dtype.element_ty), mask=inside)


def tile(outcomes: int, segments: int) -> tuple[int, int]:
    """(BLOCK_S, BLOCK_R) for the mean segment length."""
    lanes = min(TILE, max(16, triton.next_power_of_2(max(1, outcomes // max(1, segments)))))
    return TILE // lanes, lanes


def log_mean_exp(outcomes: Tensor, offsets: Tensor, etas: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Values, extremes and ln(mean exp) [H, S] float32; an empty segment has zeros."""
    binary = outcomes.dtype in (torch.uint8, torch.bool)
    data = outcomes.contiguous().view(torch.uint8) if binary else outcomes.contiguous()
    offsets = offsets.contiguous()
    segments = offsets.shape[0] - 1
    eta = torch.tensor(etas, dtype=torch.float32, device=outcomes.device)
    values, extremes, logs = (outcomes.new_empty((len(etas), segments), dtype=torch.float32) for _ in range(3))
    if segments:
        rows, lanes = tile(outcomes.numel(), segments)
        log_mean_exp_kernel[(triton.cdiv(segments, rows),)](
            data, offsets, eta, values, extremes, logs, segments, len(etas), BLOCK_S=rows, BLOCK_R=lanes, BINARY=binary)
    return values, extremes, logs


def log_mean_exp_backward(grad: Tensor, outcomes: Tensor, offsets: Tensor, etas: list[float], extremes: Tensor,
                          logs: Tensor) -> Tensor:
    """The gradient of the outcomes [R], in their dtype."""
    segments = offsets.shape[0] - 1
    result = torch.empty_like(outcomes, memory_format=torch.contiguous_format)
    if segments:
        rows, lanes = tile(outcomes.numel(), segments)
        eta = torch.tensor(etas, dtype=torch.float32, device=outcomes.device)
        log_mean_exp_backward_kernel[(triton.cdiv(segments, rows),)](
            grad.contiguous(), outcomes.contiguous(), offsets.contiguous(), eta, extremes, logs, result, segments,
            len(etas), BLOCK_S=rows, BLOCK_R=lanes)
    return result
