# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The forward pass of every loss on a few head rows, on the GPU: one launch.

One margin (`one_margin_kernel`): a fixed number of programs walks over the tags. Each takes a hidden row whole into
registers, its dot with w_1 - w_0, the loss, score and dz, and adds dz h to its own share of the head's gradient: a row
is read once. Soft values of counts or rewards come first, one of the program's tags a lane, in the memory of dz: a row
is worked on by all threads, which would all compute the same value. So the loop over the rows is innermost, and Triton
pipelines it: rows of the next tags are on their way to shared memory while one is worked on. (The likelihood depends on
the margin: its loop over the completions stays inside, and takes 32 at a time.)

Several margins (`margins_kernel`), and rows wider than registers: blocks of BLOCK_M tags through the matrix units.
Their rows pass twice, for the margins and for the head's gradient, the second time from the end, whose columns are
still in the L2 cache. A block whose rows stayed on the chip would have to be a quarter as large (16 rows of 4,096
bfloat16 columns are 128 kB of shared memory), and with it every program would read the head and add to its share of the
head's gradient, 3 H D floats in all, four times as often: at H = 6 and D = 4,096 that is 18 kB a row from the L2 cache
instead of 4.6 kB, to save the 8 kB of the second reading.
Products are exact to float32: bfloat16 rows against three bfloat16 parts of the float32 factor, other dtypes in three
TF32 products.

No float atomics: every program has its own share of each sum. Whoever arrives last, by an integer counter, adds up the
shares of the loss in a fixed order; those of the head's gradient are added up where it is scaled, in the backward pass.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from erprm.kernels.head.reference import Forward, Rows
from erprm.kernels.maths import (
    LANES,
    beta_binomial_loss,
    binary_loss,
    counts_value,
    lanes_of,
    log1p_near,
    rewards_value,
    segment_ones,
    segment_sums,
    segment_values,
    sigmoid,
)

TARGETS, COUNTS, REWARDS, LIKELIHOOD = 0, 1, 2, 3  # what is learnt
LEAST_KAPPA = 1e-3
WIDEST = 16_384  # columns that the registers of a program hold
REGISTERS = 240  # a thread, of the one-margin kernel: 64 columns of the row, of w_1 - w_0 and of the gradient
BLOCK_S = 32  # tags whose soft values a program of the one-margin kernel works out at a time
EMPTY = tl.constexpr(-(2.0**60))  # in the place of the soft value of a tag without completions
BLOCK_M, STAGES = 64, 3  # of the kernel for several margins


@triton.jit
def finish(partial, counter, loss, db, BLOCK_P: tl.constexpr, H: tl.constexpr):
    """The last program adds the shares [P, 1 + H] of loss and db up, and sets the counter back."""
    tl.debug_barrier()  # the program's own share is written
    if tl.atomic_add(counter, 1, sem="acq_rel") == tl.num_programs(0) - 1:
        share = tl.arange(0, BLOCK_P)
        for j in tl.static_range(1 + H):
            values = tl.load(partial + share * (1 + H) + j, mask=share < tl.num_programs(0), other=0.0,
                             cache_modifier=".cg")
            if j == 0:
                tl.store(loss, tl.sum(values, axis=0))
            else:
                tl.store(db + j - 1, tl.sum(values, axis=0))
        tl.store(counter, 0)


@triton.jit
def found_rows(positions, tag, valid, N):
    """Positions [BLOCK] and whether each is a row, above the one before it."""
    position = tl.load(positions + tag, mask=valid, other=0)
    previous = tl.load(positions + tag - 1, mask=valid & (tag > 0), other=-1)
    return position, (position > previous) & (position >= 0) & (position < N)


@triton.jit
def segments(rewards, offsets, tag, valid, LANES: tl.constexpr):
    """The rewards of tags [BLOCK]: pointers [BLOCK, LANES], how many lie from there on, and lengths [BLOCK] int32."""
    start = tl.load(offsets + tag, mask=valid, other=0)
    length = (tl.load(offsets + tag + 1, mask=valid, other=0) - start).to(tl.int32)
    lane = tl.arange(0, LANES)[None, :]
    return rewards + start[:, None] + lane, length[:, None] - lane, length


@triton.jit
def inverse(normalizer):
    """1 / normalizer; 0 for a normaliser of 0."""
    total = tl.load(normalizer).to(tl.float32)
    return tl.where(total == 0.0, 0.0, 1.0 / tl.where(total == 0.0, 1.0, total))


@triton.jit
def soft_values(first, second, values, M, eta, BLOCK_S: tl.constexpr, BLOCK_R: tl.constexpr, MODE: tl.constexpr,
                BINARY: tl.constexpr):
    """Writes the soft values of the program's own tags, BLOCK_S at a time; EMPTY for one without completions."""
    for begin in range(tl.program_id(0), M, BLOCK_S * tl.num_programs(0)):
        tag = begin + tl.arange(0, BLOCK_S) * tl.num_programs(0)
        valid = tag < M
        if MODE == 1:
            k, n = tl.load(first + tag, mask=valid, other=0), tl.load(second + tag, mask=valid, other=0)
            value, _, _ = counts_value(k.to(tl.float32), n.to(tl.float32), eta)
        else:
            data, left, n = segments(first, second, tag, valid, BLOCK_R)
            longest, size = tl.max(n, axis=0), n.to(tl.float32)
            if BINARY:
                value, _, _ = counts_value(segment_ones(data, left, longest, BLOCK_S, BLOCK_R), size, eta)
            else:
                top, total, far = segment_sums(data, left, longest, eta, BLOCK_S, BLOCK_R)
                value, _, _ = rewards_value(size, top, tl.sum(total, axis=1), tl.sum(far, axis=1), tl.abs(eta))
                value = tl.where(eta < 0.0, -value, value)
        tl.store(values + tag, tl.where(n > 0, value, EMPTY), mask=valid)
    tl.debug_barrier()  # all are written, and any thread may read them


@triton.jit(do_not_specialize=("N", "M"))
def one_margin_kernel(
    # data
    hidden, head, bias, positions,  # [N, D], [2, D], [2] or None, [M] int64
    first, second,  # by MODE: targets [M], None | successes [M], trials [M] | rewards [R], offsets [M + 1]
    weights, normalizer,  # [M] or None, 0-d
    # results, float32, and the counter of programs that are done
    scores, dz, partial, partial_dw, loss, db, counter,  # [M], [M], [P, 2], [P, D], 0-d, [1]
    # shapes, row stride, and the scalar: eta, or the concentration
    N, M, D, hidden_row, scalar,
    BLOCK_D: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_R: tl.constexpr, MODE: tl.constexpr,
    BINARY: tl.constexpr, NEED_HEAD: tl.constexpr, STAGES: tl.constexpr,
):
    program = tl.program_id(0)
    values = first
    if MODE == 1 or MODE == 2:
        values = dz
        soft_values(first, second, values, M, scalar, BLOCK_S, BLOCK_R, MODE, BINARY)
    column = tl.arange(0, BLOCK_D)
    inside = column < D
    vector = tl.load(head + D + column, mask=inside, other=0.0).to(tl.float32)
    vector -= tl.load(head + column, mask=inside, other=0.0).to(tl.float32)
    shift = 0.0
    if bias is not None:
        shift = tl.load(bias + 1).to(tl.float32) - tl.load(bias).to(tl.float32)
    scale = inverse(normalizer)
    total_loss = tl.zeros((1,), dtype=tl.float32)
    total_dz = tl.zeros((1,), dtype=tl.float32)
    total_dw = tl.zeros((BLOCK_D,), dtype=tl.float32)
    for place in tl.range(program, M, tl.num_programs(0), num_stages=STAGES):
        tag = place + tl.arange(0, 1)
        position, found = found_rows(positions, tag, tag < M, N)
        weight = scale
        if weights is not None:
            weight = scale * tl.load(weights + tag).to(tl.float32)
        if MODE == 3:
            k = tl.load(first + tag).to(tl.float32)
            n = tl.load(second + tag).to(tl.float32)
        else:
            target = tl.load(values + tag).to(tl.float32)
            if MODE != 0:
                weight = tl.where(target == EMPTY, 0.0, weight)
        place_row = hidden + position[:, None] * hidden_row + column[None, :]
        row = tl.load(place_row, mask=found[:, None] & inside[None, :], other=0.0).to(tl.float32)
        z = tl.sum(row * vector[None, :], axis=1) + shift
        z = tl.where(found, z, float("nan"))  # never a wrong number from a wrong position
        if MODE == 3:
            z, k, n = tl.sum(z, axis=0), tl.sum(k, axis=0), tl.sum(n, axis=0)  # of one element: as scalars
            value, slope, _ = beta_binomial_loss(z, k, n, scalar, 32)
        else:
            value, slope = binary_loss(z, target)
        slope *= weight
        tl.store(scores + tag, sigmoid(z))
        tl.store(dz + tag, slope)
        total_loss += weight * value
        total_dz += slope
        if NEED_HEAD:
            total_dw += tl.sum(row * slope[:, None], axis=0)
    tl.store(partial + 2 * program, tl.sum(total_loss, axis=0))
    tl.store(partial + 2 * program + 1, tl.sum(total_dz, axis=0))
    if NEED_HEAD:
        tl.store(partial_dw + program.to(tl.int64) * D + column, total_dw, mask=inside)
    finish(partial, counter, loss, db, BLOCK_P, 1)


@triton.jit
def add_product(total, left, right, FACTOR: tl.constexpr):
    """total + left @ right, `right` in float32, without rounding it to the dtype of `left`.

    FACTOR: the dtype that bfloat16 factors are multiplied in, bfloat16; float32 in Triton's interpreter, whose products
    know no bfloat16.
    """
    if left.dtype == tl.bfloat16:  # three parts of 8 bits each
        high = right.to(tl.bfloat16)
        rest = right - high.to(tl.float32)
        middle = rest.to(tl.bfloat16)
        low = (rest - middle.to(tl.float32)).to(tl.bfloat16)
        left = left.to(FACTOR)
        total = tl.dot(left, low.to(FACTOR), total)
        total = tl.dot(left, middle.to(FACTOR), total)
        total = tl.dot(left, high.to(FACTOR), total)
    else:
        total = tl.dot(left.to(tl.float32), right, total, input_precision="tf32x3")
    return total


@triton.jit(do_not_specialize=("N", "M"))
def margins_kernel(
    # data
    hidden, head, bias, positions,  # [N, D], [1 + H, D], [1 + H] or None, [M] int64
    first, second,  # by MODE: targets [M, H], None | successes [M], trials [M] | rewards [R], offsets [M + 1]
    etas, weights, normalizer,  # [H] float32 or None, [M] or None, 0-d
    # results, float32, and the counter of programs that are done
    scores, dz, partial, partial_dw, loss, db, counter,  # [M, H], [M, H], [P, 1 + H], [P, H, D], 0-d, [H]
    # shapes and row stride
    N, M, D, hidden_row,
    H: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_P: tl.constexpr,
    BLOCK_R: tl.constexpr, MODE: tl.constexpr, BINARY: tl.constexpr, NEED_HEAD: tl.constexpr, STAGES: tl.constexpr,
    FACTOR: tl.constexpr,
):
    program = tl.program_id(0)
    margin = tl.arange(0, BLOCK_H)
    used = margin < H
    shift = tl.zeros((BLOCK_H,), dtype=tl.float32)
    if bias is not None:
        shift = tl.load(bias + 1 + margin, mask=used, other=0.0).to(tl.float32) - tl.load(bias).to(tl.float32)
    scale = inverse(normalizer)
    if MODE != 3:
        scale = scale / H
    total_loss = tl.zeros((BLOCK_M,), dtype=tl.float32)
    total_dz = tl.zeros((BLOCK_H,), dtype=tl.float32)
    for block in range(program, tl.cdiv(M, BLOCK_M), tl.num_programs(0)):
        tag = block * BLOCK_M + tl.arange(0, BLOCK_M)
        valid = tag < M
        position, found = found_rows(positions, tag, valid, N)
        rows = hidden + position[:, None] * hidden_row
        readable = (valid & found)[:, None]
        z = tl.zeros((BLOCK_M, BLOCK_H), dtype=tl.float32)
        for begin in tl.range(0, D, BLOCK_D, num_stages=STAGES):
            column = begin + tl.arange(0, BLOCK_D)
            inside = column < D
            row = tl.load(rows + column[None, :], mask=readable & inside[None, :], other=0.0)
            vector = tl.load(head + (1 + margin)[None, :] * D + column[:, None], mask=inside[:, None] & used[None, :],
                             other=0.0).to(tl.float32)
            minus = tl.load(head + column, mask=inside, other=0.0).to(tl.float32)
            z = add_product(z, row, tl.where(used[None, :], vector - minus[:, None], 0.0), FACTOR)
        z = tl.where(found[:, None], z + shift[None, :], float("nan"))  # never a wrong number from a wrong position
        weight = scale * valid.to(tl.float32)
        if weights is not None:
            weight = scale * tl.load(weights + tag, mask=valid, other=0.0).to(tl.float32)
        place = tag[:, None].to(tl.int64) * H + margin[None, :]
        wanted = valid[:, None] & used[None, :]
        if MODE == 0:
            target = tl.load(first + place, mask=wanted, other=0.0).to(tl.float32)
        elif MODE == 2:
            eta = tl.load(etas + margin, mask=used, other=0.0)
            data, left, length = segments(first, second, tag, valid, BLOCK_R)
            target = segment_values(data, left, length, eta, BLOCK_M, BLOCK_R, BLOCK_H, BINARY)
            weight = tl.where(length > 0, weight, 0.0)
        else:
            k = tl.load(first + tag, mask=valid, other=0).to(tl.float32)
            n = tl.load(second + tag, mask=valid, other=0).to(tl.float32)
            if MODE == 1:
                eta = tl.load(etas + margin, mask=used, other=0.0)
                target, _, _ = counts_value(k[:, None], n[:, None], eta[None, :])
                weight = tl.where(n > 0.0, weight, 0.0)
        if MODE == 3:  # margin 0 says the mean, margin 1 the concentration
            z_mean = tl.sum(tl.where(margin[None, :] == 0, z, 0.0), axis=1)
            z_kappa = tl.sum(tl.where(margin[None, :] == 1, z, 0.0), axis=1)
            kappa = tl.maximum(z_kappa, 0.0) + log1p_near(tl.exp(-tl.abs(z_kappa))) + 1e-3
            value, slope_mean, slope_kappa = beta_binomial_loss(z_mean, k, n, kappa, 1)
            slope_kappa *= sigmoid(z_kappa)
            slope = tl.where(margin[None, :] == 0, slope_mean[:, None], slope_kappa[:, None])
            score = tl.where(margin[None, :] == 0, sigmoid(z_mean)[:, None], kappa[:, None])
        else:
            every, slope = binary_loss(z, target)
            value = tl.sum(tl.where(used[None, :], every, 0.0), axis=1)
            score = sigmoid(z)
        slope = tl.where(wanted, weight[:, None] * slope, 0.0)
        tl.store(scores + place, score, mask=wanted)
        tl.store(dz + place, slope, mask=wanted)
        total_loss += tl.where(valid, weight * value, 0.0)
        total_dz += tl.sum(slope, axis=0)
        if NEED_HEAD:
            shares = partial_dw + (program.to(tl.int64) * H + margin)[None, :] * D
            for done in tl.range(0, D, BLOCK_D, num_stages=STAGES):
                # From the end, whose columns were read last and are still in the cache.
                column = (tl.cdiv(D, BLOCK_D) - 1) * BLOCK_D - done + tl.arange(0, BLOCK_D)
                inside = column < D
                row = tl.load(rows + column[None, :], mask=readable & inside[None, :], other=0.0)
                here = inside[:, None] & used[None, :]
                before = tl.load(shares + column[:, None], mask=here & (block != program), other=0.0)
                share = add_product(before, tl.trans(row), slope, FACTOR)
                tl.store(shares + column[:, None], share, mask=here)
    tl.store(partial + program * (1 + H), tl.sum(total_loss, axis=0))
    tl.store(partial + program * (1 + H) + 1 + margin, total_dz, mask=used)
    finish(partial, counter, loss, db, BLOCK_P, H)


@dataclass(frozen=True)
class Learnt:
    """What is learnt at the tags: its mode, its one or two tensors, and the H etas (or the fixed concentration)."""

    mode: int
    first: Tensor
    second: Tensor | None = None
    numbers: tuple[float, ...] = ()


def one_margin(width: int, itemsize: int) -> tuple[int, int, int]:
    """(BLOCK_D, warps, stages) of the one-margin kernel: 64 columns a thread, 32 or fewer in narrow rows; three stages
    where four rows would fill shared memory."""
    block = max(64, triton.next_power_of_2(width))
    return block, max(1, block // 2048), 4 if block * itemsize <= 32_768 else 3


def several_margins(dtype: torch.dtype, mode: int, binary: bool) -> tuple[int, int]:
    """(BLOCK_D, warps) of the kernel for several margins: twice the warps where 4 would run out of registers."""
    width = {torch.bfloat16: 128, torch.float16: 64}.get(dtype, 32)
    return width, 8 if mode == REWARDS and not binary and dtype.itemsize == 4 else 4


def programs(hidden: Tensor, margins: int, steps: int) -> int:
    """How many programs the forward kernel runs: fixed per device, width and size, so that sums keep their order."""
    if margins == 1 and hidden.shape[1] <= WIDEST:
        each, size = 65_536 // (32 * one_margin(hidden.shape[1], hidden.dtype.itemsize)[1] * REGISTERS), 1
    else:
        each, size = 1, BLOCK_M
    processors = 3  # in Triton's interpreter
    if hidden.is_cuda:
        processors = torch.cuda.get_device_properties(hidden.device).multi_processor_count
    count: int = torch.sym_min(each * processors, torch.sym_max(1, (steps + size - 1) // size))
    return count


@lru_cache(maxsize=64)
def device_numbers(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    """The numbers as a float32 tensor on the device, copied there once."""
    return torch.tensor(numbers, dtype=torch.float32, device=device)


@lru_cache(maxsize=64)
def _stream_counter(device: torch.device, stream: int) -> Tensor:
    return torch.zeros(1, dtype=torch.int32, device=device)


def counter(device: torch.device) -> Tensor:
    """[1] int32, zero: one for each stream, since every launch leaves zero behind; a captured graph has its own."""
    if device.type != "cuda" or torch.cuda.is_current_stream_capturing():
        return torch.zeros(1, dtype=torch.int32, device=device)
    return _stream_counter(device, torch.cuda.current_stream(device).cuda_stream)


def forward(rows: Rows, learnt: Learnt) -> Forward:
    """Loss, scores [M, H], dz [M, H], shares of dw [P, H, D] (empty unless needed), db [H]; M = 0 launches nothing."""
    hidden = rows.hidden if rows.hidden.stride(1) == 1 else rows.hidden.contiguous()
    width, steps, margins = hidden.shape[1], rows.positions.shape[0], rows.head.shape[0] - 1
    count = programs(hidden, margins, steps)
    make = hidden.new_empty if steps else hidden.new_zeros
    loss, db = make((), dtype=torch.float32), make(margins, dtype=torch.float32)
    scores, dz = (make((steps, margins), dtype=torch.float32) for _ in range(2))
    dw = make((count, margins, width) if rows.need_head else (0,), dtype=torch.float32)
    if not steps:
        return loss, scores, dz, dw, db
    first, second = learnt.first.contiguous(), learnt.second
    binary = first.dtype in (torch.uint8, torch.bool)
    data = [rows.head.contiguous(), rows.bias, rows.positions.contiguous(),
            first.view(torch.uint8) if binary else first, None if second is None else second.contiguous()]
    scale = [None if rows.weights is None else rows.weights.contiguous(), rows.normalizer]
    partial = hidden.new_empty((count, 1 + margins), dtype=torch.float32)
    results = [scores, dz, partial, dw, loss, db]
    options = {"BLOCK_P": triton.next_power_of_2(count), "MODE": learnt.mode, "BINARY": binary,
               "NEED_HEAD": rows.need_head}
    with torch.cuda.device_of(hidden):
        results.append(counter(hidden.device))
        shape = rows.hidden.shape[0], steps, width, hidden.stride(0)
        if margins == 1 and width <= WIDEST:
            block, warps, stages = one_margin(width, hidden.dtype.itemsize)
            number = learnt.numbers[0] if learnt.numbers else 0.0
            one_margin_kernel[(count,)](hidden, *data, *scale, *results, *shape, number, BLOCK_D=block, STAGES=stages,
                                        BLOCK_S=BLOCK_S, BLOCK_R=lanes_of(first.numel(), steps, most=32),
                                        num_warps=warps, maxnreg=REGISTERS, **options)
        else:
            etas = device_numbers(learnt.numbers, hidden.device) if learnt.numbers else None
            block, warps = several_margins(hidden.dtype, learnt.mode, binary)
            margins_kernel[(count,)](hidden, *data, etas, *scale, *results, *shape, H=margins, BLOCK_H=block_h(margins),
                                     BLOCK_M=BLOCK_M, BLOCK_D=block, BLOCK_R=LANES, STAGES=STAGES, num_warps=warps,
                                     FACTOR=tl.bfloat16 if hidden.is_cuda else tl.float32, **options)
    return loss, scores, dz, dw, db


def block_h(margins: int) -> int:
    """BLOCK_H of the kernel for several margins: the least that the matrix units take, or the next power of two."""
    block: int = triton.next_power_of_2(margins)
    return max(8, block)
