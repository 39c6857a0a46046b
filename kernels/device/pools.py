# mypy: disable-error-code="no-untyped-def"
"""Reductions of step scores and the best candidate per problem on the GPU."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from erprm.kernels.device.targets import tile
from erprm.kernels.reference.pools import LAST, MEAN, MIN, PRODUCT

MIN_, MEAN_, PRODUCT_, LAST_ = tl.constexpr(MIN), tl.constexpr(MEAN), tl.constexpr(PRODUCT), tl.constexpr(LAST)


@triton.jit
def multiply(a, b):
    return a * b


@triton.jit
def combine(total, value, HOW: tl.constexpr):
    """One more step score on top of the running minimum, sum or product."""
    if HOW == MIN_:
        return tl.minimum(total, value)
    elif HOW == MEAN_:
        return total + value
    else:
        return total * value


@triton.jit
def neutral(HOW: tl.constexpr):
    """What `combine` starts from, and what lanes outside a segment hold."""
    if HOW == MIN_:
        return float("inf")
    elif HOW == MEAN_:
        return 0.0
    else:
        return 1.0


@triton.jit
def segment_reduce_kernel(
    scores, offsets, values,  # [M], [S + 1] int64, [S]
    S,
    BLOCK_S: tl.constexpr, BLOCK_R: tl.constexpr, HOW: tl.constexpr,
):
    segment = tl.program_id(0).to(tl.int64) * BLOCK_S + tl.arange(0, BLOCK_S)
    valid = segment < S
    start = tl.load(offsets + segment, mask=valid, other=0)
    length = tl.load(offsets + segment + 1, mask=valid, other=0) - start
    if HOW == LAST_:
        value = tl.load(scores + start + length - 1, mask=valid & (length > 0), other=0.0).to(tl.float32)
    else:
        lane = tl.arange(0, BLOCK_R)
        total = tl.full((BLOCK_S, BLOCK_R), neutral(HOW), dtype=tl.float32)
        for begin in range(0, tl.max(length, axis=0), BLOCK_R):
            inside = (begin + lane)[None, :] < length[:, None]
            place = scores + start[:, None] + (begin + lane)[None, :]
            total = combine(total, tl.load(place, mask=inside, other=neutral(HOW)).to(tl.float32), HOW)
        if HOW == MIN_:
            value = tl.min(total, axis=1)
        elif HOW == MEAN_:
            value = tl.sum(total, axis=1) / length.to(tl.float32)
        else:
            value = tl.reduce(total, 1, multiply)
    tl.store(values + segment, value.to(values.dtype.element_ty), mask=valid)


@triton.jit
def segment_reduce_backward_kernel(
    grad, scores, offsets, result,  # [S], [M], [S + 1] int64, [M]
    S,
    BLOCK_S: tl.constexpr, BLOCK_R: tl.constexpr, HOW: tl.constexpr,
):
    segment = tl.program_id(0).to(tl.int64) * BLOCK_S + tl.arange(0, BLOCK_S)
    valid = segment < S
    start = tl.load(offsets + segment, mask=valid, other=0)
    length = tl.load(offsets + segment + 1, mask=valid, other=0) - start
    longest = tl.max(length, axis=0)
    lane = tl.arange(0, BLOCK_R)
    share = tl.load(grad + segment, mask=valid, other=0.0).to(tl.float32)
    chosen = length - 1  # the one place that gets the gradient, for the minimum and the last
    zeros = tl.zeros((BLOCK_S,), dtype=tl.float32)
    others = tl.full((BLOCK_S,), 1.0, dtype=tl.float32)
    if HOW == MIN_:
        least = tl.full((BLOCK_S, BLOCK_R), float("inf"), dtype=tl.float32)
        where = tl.zeros((BLOCK_S, BLOCK_R), dtype=tl.int64)
        for begin in range(0, longest, BLOCK_R):
            inside = (begin + lane)[None, :] < length[:, None]
            place = scores + start[:, None] + (begin + lane)[None, :]
            value = tl.load(place, mask=inside, other=float("inf")).to(tl.float32)
            where = tl.where(value < least, (begin + lane)[None, :].to(tl.int64), where)
            least = tl.minimum(least, value)
        lowest = tl.min(least, axis=1)
        chosen = tl.min(tl.where(least == lowest[:, None], where, longest), axis=1)
    if HOW == PRODUCT_:
        zero_lanes = tl.zeros((BLOCK_S, BLOCK_R), dtype=tl.float32)
        other_lanes = tl.full((BLOCK_S, BLOCK_R), 1.0, dtype=tl.float32)
        for begin in range(0, longest, BLOCK_R):
            inside = (begin + lane)[None, :] < length[:, None]
            place = scores + start[:, None] + (begin + lane)[None, :]
            value = tl.load(place, mask=inside, other=1.0).to(tl.float32)
            zero_lanes += tl.where(value == 0.0, 1.0, 0.0)
            other_lanes *= tl.where(value == 0.0, 1.0, value)
        zeros = tl.sum(zero_lanes, axis=1)
        others = tl.reduce(other_lanes, 1, multiply)
    for begin in range(0, longest, BLOCK_R):
        inside = (begin + lane)[None, :] < length[:, None]
        place = start[:, None] + (begin + lane)[None, :]
        if HOW == MEAN_:
            slope = (share / length.to(tl.float32))[:, None] + tl.zeros((BLOCK_S, BLOCK_R), dtype=tl.float32)
        elif HOW == PRODUCT_:
            value = tl.load(scores + place, mask=inside, other=1.0).to(tl.float32)
            rest = (share * others)[:, None]
            alone = tl.where((zeros == 1.0)[:, None] & (value == 0.0), rest, 0.0)
            slope = tl.where((zeros == 0.0)[:, None], rest / tl.where(value == 0.0, 1.0, value), alone)
        else:
            slope = tl.where((begin + lane)[None, :] == chosen[:, None], share[:, None], 0.0)
        tl.store(result + place, slope.to(result.dtype.element_ty), mask=inside)


@triton.jit
def first_best(value, candidate, N):
    """The first index of the largest of `value` [BLOCK_N] among the N candidates."""
    inside = candidate < N
    best = tl.max(tl.where(inside, value, float("-inf")), axis=0)
    return tl.min(tl.where(inside & (value == best), candidate, N), axis=0)


@triton.jit
def best_of_n_kernel(scores, best, N, row_stride, column_stride, BLOCK_N: tl.constexpr):
    problem = tl.program_id(0).to(tl.int64)
    candidate = tl.arange(0, BLOCK_N)
    place = scores + problem * row_stride + candidate * column_stride
    value = tl.load(place, mask=candidate < N, other=float("-inf")).to(tl.float32)
    tl.store(best + problem, first_best(value, candidate, N).to(tl.int64))


@triton.jit
def pool_best_kernel(
    scores, offsets, values, best,  # [M], [P N + 1] int64, [P, N], [P] int64
    N,
    BLOCK_N: tl.constexpr, HOW: tl.constexpr,
):
    problem = tl.program_id(0).to(tl.int64)
    candidate = tl.arange(0, BLOCK_N)
    inside = candidate < N
    solution = problem * N + candidate
    start = tl.load(offsets + solution, mask=inside, other=0)
    length = tl.load(offsets + solution + 1, mask=inside, other=0) - start
    if HOW == LAST_:
        value = tl.load(scores + start + length - 1, mask=inside & (length > 0), other=0.0).to(tl.float32)
    else:
        value = tl.full((BLOCK_N,), neutral(HOW), dtype=tl.float32)
        for step in range(tl.max(length, axis=0)):
            present = step < length
            value = combine(value, tl.load(scores + start + step, mask=present, other=neutral(HOW)).to(tl.float32), HOW)
        if HOW == MEAN_:
            value = value / tl.maximum(length, 1).to(tl.float32)
    stored = value.to(values.dtype.element_ty)
    tl.store(values + solution, stored, mask=inside)
    tl.store(best + problem, first_best(stored.to(tl.float32), candidate, N).to(tl.int64))


def segment_reduce(scores: Tensor, offsets: Tensor, how: int) -> Tensor:
    """[M] step scores into [S] values."""
    segments = offsets.shape[0] - 1
    values = scores.new_empty(segments)
    if segments:
        rows, lanes = tile(scores.numel(), segments)
        segment_reduce_kernel[(triton.cdiv(segments, rows),)](
            scores.contiguous(), offsets.contiguous(), values, segments, BLOCK_S=rows, BLOCK_R=lanes, HOW=how)
    return values


def segment_reduce_backward(grad: Tensor, scores: Tensor, offsets: Tensor, how: int) -> Tensor:
    """The gradient of the step scores [M]."""
    segments = offsets.shape[0] - 1
    result = torch.empty(scores.shape, dtype=scores.dtype, device=scores.device)
    if segments:
        rows, lanes = tile(scores.numel(), segments)
        segment_reduce_backward_kernel[(triton.cdiv(segments, rows),)](
            grad.contiguous(), scores.contiguous(), offsets.contiguous(), result, segments, BLOCK_S=rows,
            BLOCK_R=lanes, HOW=how)
    return result


def best_of_n(scores: Tensor) -> Tensor:
    """[P, N] into [P] int64: the first of the best."""
    problems, candidates = scores.shape
    best = scores.new_empty(problems, dtype=torch.int64)
    if problems:
        best_of_n_kernel[(problems,)](scores, best, candidates, scores.stride(0), scores.stride(1),
                                      BLOCK_N=triton.next_power_of_2(candidates))
    return best


def pool_best(scores: Tensor, offsets: Tensor, candidates: int, how: int) -> tuple[Tensor, Tensor]:
    """Step scores [M] of P * N solutions into values [P, N] and the best candidates [P] int64."""
    problems = (offsets.shape[0] - 1) // candidates
    values = scores.new_empty((problems, candidates))
    best = scores.new_empty(problems, dtype=torch.int64)
    if problems:
        pool_best_kernel[(problems,)](scores.contiguous(), offsets.contiguous(), values, best, candidates,
                                      BLOCK_N=triton.next_power_of_2(candidates), HOW=how)
    return values, best
