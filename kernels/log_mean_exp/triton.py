# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Segment log-mean-exp on the GPU: ragged rewards into soft values, for one or several etas.

A program owns SEGMENTS neighbouring segments, whose rewards are one contiguous run, and walks along it in wide tiles;
the closing formula is one segment a lane. Binary rewards are only counted: ones before an end, less ones before a
start, by a running sum over wide tiles of the run. Others are read twice for each eta (the second time from the cache),
by LANES lanes a segment: for the extreme, then for the sums of exp and expm1.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from erprm.kernels.head.triton import device_numbers
from erprm.kernels.maths import counts_value, lanes_of, rewards_value, segment_sums

SEGMENTS = 256
TILE = 2048  # binary rewards at a time
SLOTS = 1024  # segments times lanes, of other rewards
WARPS = 4


@triton.jit
def ones_before(counted, place, TILE: tl.constexpr):
    """How many of a tile's ones lie before `place` [BLOCK], from its beginning on; `counted` [TILE] is inclusive."""
    found = tl.gather(counted, tl.minimum(tl.maximum(place - 1, 0), TILE - 1).to(tl.int32), 0)
    return tl.where(place > 0, found, 0)


@triton.jit
def binary_kernel(
    rewards, offsets, numbers, values, extremes, logs,  # [R] uint8, [S + 1] int64, [H], three times [H, S] float32
    R, S, eta,  # eta: the only one where `numbers` is None
    H: tl.constexpr, SEGMENTS: tl.constexpr, TILE: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * SEGMENTS
    segment = first + tl.arange(0, SEGMENTS)
    valid = segment < S
    start = tl.load(offsets + segment, mask=valid, other=0)
    end = tl.load(offsets + segment + 1, mask=valid, other=0)
    ones = tl.zeros((SEGMENTS,), dtype=tl.int32)
    # Whole tiles from a multiple of 16 on, so that loads are wide; what lies outside the run cancels in the difference.
    begin = tl.load(offsets + first) // 16 * 16
    last = tl.load(offsets + tl.minimum(first + SEGMENTS, S))
    for _ in range(tl.cdiv(last - begin, TILE).to(tl.int32)):
        begin = tl.multiple_of(begin, 16)
        lane = tl.arange(0, TILE)
        if begin + TILE <= R:
            r = tl.load(rewards + begin + lane)
        else:
            r = tl.load(rewards + begin + lane, mask=begin + lane < R, other=0)
        counted = tl.cumsum((r != 0).to(tl.int32), axis=0)
        ones += ones_before(counted, end - begin, TILE) - ones_before(counted, start - begin, TILE)
        begin += TILE
    k, n = ones.to(tl.float32), (end - start).to(tl.float32)
    for h in tl.static_range(H):
        if numbers is not None:
            eta = tl.load(numbers + h)
        value, extreme, log = counts_value(k, n, eta)
        tl.store(values + h * S + segment, value, mask=valid)
        tl.store(extremes + h * S + segment, extreme, mask=valid)
        tl.store(logs + h * S + segment, log, mask=valid)


@triton.jit
def rewards_kernel(
    rewards, offsets, numbers, values, extremes, logs,  # [R], [S + 1] int64, [H], three times [H, S] float32
    S, eta,  # eta: the only one where `numbers` is None
    H: tl.constexpr, SEGMENTS: tl.constexpr, LANES: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * SEGMENTS
    segment = first + tl.arange(0, SEGMENTS)
    valid = segment < S
    run = tl.load(offsets + first)
    start = tl.load(offsets + segment, mask=valid, other=0) - run
    length = tl.where(valid, tl.load(offsets + segment + 1, mask=valid, other=0) - run - start, 0).to(tl.int32)
    longest = tl.max(length, axis=0)
    lane = tl.arange(0, LANES)[None, :]
    data = rewards + run + start[:, None] + lane
    left = length[:, None] - lane  # a reward lies at `begin` where begin < left
    for h in range(H):
        if numbers is not None:
            eta = tl.load(numbers + h)
        top, total, far = segment_sums(data, left, longest, eta, SEGMENTS, LANES)
        # One segment a lane for the rest: what is stored in the layout of the tile is loaded in that of a vector.
        place = h * S + segment
        tl.store(values + place, tl.sum(total, axis=1), mask=valid)
        tl.store(extremes + place, top, mask=valid)
        tl.store(logs + place, tl.sum(far, axis=1), mask=valid)
        tl.debug_barrier()
        lone = first + tl.arange(0, SEGMENTS)
        there = lone < S
        place = h * S + lone
        n = (tl.load(offsets + lone + 1, mask=there, other=0) - tl.load(offsets + lone, mask=there, other=0)).to(
            tl.float32)
        sum_near = tl.load(values + place, mask=there, other=0.0)
        sum_far = tl.load(logs + place, mask=there, other=0.0)
        best = tl.load(extremes + place, mask=there, other=0.0)
        value, extreme, log = rewards_value(n, best, sum_near, sum_far, tl.abs(eta))
        sign = tl.where(eta < 0.0, -1.0, 1.0)
        tl.debug_barrier()
        tl.store(values + place, sign * value, mask=there)
        tl.store(extremes + place, sign * extreme, mask=there)
        tl.store(logs + place, log, mask=there)


@triton.jit
def backward_kernel(
    grad, rewards, offsets, etas, extremes, logs, result,  # [H, S], [R], [S + 1], [H], [H, S], [H, S], [R]
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
        r = tl.load(rewards + place, mask=inside, other=0.0).to(tl.float32)
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


def log_mean_exp(rewards: Tensor, offsets: Tensor, etas: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Values, extremes and ln(mean exp) [H, S] float32; an empty segment has zeros."""
    binary = rewards.dtype in (torch.uint8, torch.bool)
    data = rewards.contiguous().view(torch.uint8) if binary else rewards.contiguous()
    segments, count = offsets.shape[0] - 1, len(etas)
    results = [rewards.new_empty((count, segments), dtype=torch.float32) for _ in range(3)]
    if segments:
        numbers = device_numbers(tuple(etas), rewards.device) if count > 1 else None
        with torch.cuda.device_of(rewards):
            if binary:
                binary_kernel[(triton.cdiv(segments, SEGMENTS),)](
                    data, offsets.contiguous(), numbers, *results, data.shape[0], segments, etas[0],
                                    H=count, SEGMENTS=SEGMENTS, TILE=TILE, num_warps=WARPS)
            else:
                lanes = lanes_of(data.numel(), segments)
                rewards_kernel[(triton.cdiv(segments, SLOTS // lanes),)](
                    data, offsets.contiguous(), numbers, *results, segments, etas[0], H=count, SEGMENTS=SLOTS // lanes,
                    LANES=lanes, num_warps=WARPS)
    return results[0], results[1], results[2]


def log_mean_exp_backward(grad: Tensor, rewards: Tensor, offsets: Tensor, etas: list[float], extremes: Tensor,
                          logs: Tensor) -> Tensor:
    """The gradient of the rewards [R], in their dtype."""
    segments = offsets.shape[0] - 1
    result = torch.empty_like(rewards, memory_format=torch.contiguous_format)
    if segments:
        lanes = min(512, max(16, triton.next_power_of_2(max(1, rewards.numel() // segments))))
        with torch.cuda.device_of(rewards):
            backward_kernel[(triton.cdiv(segments, 512 // lanes),)](
                grad.contiguous(), rewards.contiguous(), offsets.contiguous(),
                device_numbers(tuple(etas), rewards.device), extremes, logs, result, segments, len(etas),
                BLOCK_S=512 // lanes, BLOCK_R=lanes)
    return result
