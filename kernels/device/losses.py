# mypy: disable-error-code="no-untyped-def"
"""The fused step loss on the GPU.

Forward: a fixed number of programs walks over blocks of tags. Each gathers its hidden rows whole (BLOCK_M x BLOCK_D,
with BLOCK_D >= D), takes the dot with w+ - w-, works out the targets, losses, scores and dz, and adds dz h to its own
share of the head's gradient while the rows are still in registers: hidden rows are read once. A second kernel adds the
shares in a fixed order, so there are no atomics and every run gives the same bits. With targets given, the loop is
pipelined: positions and rows of the next blocks are on their way to shared memory while one is worked on. (From
outcomes or counts, the loop holds another one, and Triton pipelines only innermost loops.)

Backward: the hidden gradient is written in one pass, zeros and tagged rows alike: a program finds the tags of its rows
by binary search in the sorted positions, or knows that every row has one. Nothing else of size N or M D is read or
written.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from erprm.errors import InputError
from erprm.kernels.device.maths import log1p_near, segment_value

MAX_WIDTH = 16_384
TARGETS, OUTCOMES, COUNTS = 0, 1, 2
STAGES = 4  # of the forward loop: positions, then rows, are fetched that many blocks ahead, less one for each
MAX_REGISTERS = 128  # of the forward kernel: two programs of 8 warps, or one of 16, fill a multiprocessor's registers
FINISH_ROWS, FINISH_WIDTH = 64, 32  # 16 loads in flight a thread, and a program for every 32 columns


@triton.jit
def direction(head, row_stride, column_stride, column, inside, PAIR: tl.constexpr):
    """w+ - w- at `column`, or the only row, in float32."""
    vector = tl.load(head + column * column_stride, mask=inside, other=0.0).to(tl.float32)
    if PAIR:
        vector -= tl.load(head + row_stride + column * column_stride, mask=inside, other=0.0).to(tl.float32)
    return vector


@triton.jit
def binary_loss(z, target):
    """Loss and dz of the soft-target cross-entropy; see `reference.losses`."""
    small = tl.exp(-tl.abs(z))
    tail = small / (1.0 + small)
    miss = tl.where(z > 0.0, 1.0 - target, target)
    return tl.abs(z) * miss + log1p_near(small), tl.where(z > 0.0, miss - tail, tail - miss)


@triton.jit
def counts_loss(z, k, n, s):
    """Loss and dz of -ln BetaBinomial(k | n, mu s, (1 - mu) s): one factor of the likelihood per completion."""
    small = tl.exp(-tl.abs(z))
    tail = small / (1.0 + small)
    mu = tl.where(z > 0.0, 1.0 - tail, tail)
    nu = tl.where(z > 0.0, tail, 1.0 - tail)
    log_mu = tl.minimum(z, 0.0) - log1p_near(small)
    log_nu = tl.minimum(-z, 0.0) - log1p_near(small)
    failures = n - k
    some_up, some_down = k > 0.0, failures > 0.0
    # Factor 0 of either kind, in the log domain, so that mu or nu may underflow.
    log = tl.where(some_up, log_mu + tl.log(tl.maximum(n, 1.0)), 0.0)
    log += tl.where(some_down, log_nu + tl.log(s / (s + k)), 0.0)
    slope_up = tl.where(some_up, 1.0, 0.0)
    slope_down = tl.where(some_down, 1.0, 0.0)
    for count in range(1, tl.max(n, axis=0).to(tl.int32)):
        i = count * 1.0
        up, down = i < k, i < failures
        ratio = (mu * s + i) / (s + i) * ((n - i) / (i + 1.0))
        log += tl.where(up, tl.log(tl.where(up, ratio, 1.0)), 0.0)
        log += tl.where(down, tl.log((nu * s + i) / (s + k + i)), 0.0)
        slope_up += tl.where(up, mu * s / (mu * s + i), 0.0)
        slope_down += tl.where(down, nu * s / (nu * s + i), 0.0)
    return -log, mu * slope_down - nu * slope_up


@triton.jit
def step_loss_kernel(
    # data
    hidden, head, bias, positions,  # [N, D], [2 | 1, D], [2 | 1] or None, [M] int64
    first, second,  # by MODE: targets [M], None | outcomes [R], offsets [M + 1] | successes [M], trials [M]
    weights,  # [M] or None
    # results, float32
    scores, dz, partial_loss, partial_weight, partial_dw,  # [M], [M], [P], [P], [P, D]
    # shapes and strides
    N, M, D, hidden_row, hidden_column, head_row, head_column, scalar,  # scalar: eta, or the concentration
    BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_R: tl.constexpr, MODE: tl.constexpr, BINARY: tl.constexpr,
    PAIR: tl.constexpr, NEED_HEAD: tl.constexpr, STAGES: tl.constexpr,
):
    program = tl.program_id(0)
    column = tl.arange(0, BLOCK_D)
    inside = column < D
    vector = direction(head, head_row, head_column, column, inside, PAIR)
    shift = 0.0
    if bias is not None:
        shift = tl.load(bias).to(tl.float32)
        if PAIR:
            shift -= tl.load(bias + 1).to(tl.float32)
    total_loss = tl.zeros((BLOCK_M,), dtype=tl.float32)
    total_weight = tl.zeros((BLOCK_M,), dtype=tl.float32)
    total_dw = tl.zeros((BLOCK_D,), dtype=tl.float32)
    for block in tl.range(program, tl.cdiv(M, BLOCK_M), tl.num_programs(0), num_stages=STAGES):
        tag = block * BLOCK_M + tl.arange(0, BLOCK_M)
        valid = tag < M
        position = tl.load(positions + tag, mask=valid, other=0)
        found = (position >= 0) & (position < N)
        weight = valid.to(tl.float32)
        if weights is not None:
            weight = tl.load(weights + tag, mask=valid, other=0.0).to(tl.float32)
        if MODE == 1:  # before the rows are loaded, while registers are free
            start = tl.load(second + tag, mask=valid, other=0)
            length = tl.load(second + tag + 1, mask=valid, other=0) - start
            target, _, _ = segment_value(first, start, length, scalar, BLOCK_M, BLOCK_R, BINARY)
            weight = tl.where(length > 0, weight, 0.0)
        elif MODE == 0:
            target = tl.load(first + tag, mask=valid, other=0.0).to(tl.float32)
        place = hidden + position[:, None] * hidden_row + column[None, :] * hidden_column
        rows = tl.load(place, mask=(valid & found)[:, None] & inside[None, :], other=0.0).to(tl.float32)
        z = tl.sum(rows * vector[None, :], axis=1) + shift
        z = tl.where(found, z, float("nan"))  # never a wrong number from a wrong position
        if MODE == 2:
            k = tl.load(first + tag, mask=valid, other=0).to(tl.float32)
            n = tl.load(second + tag, mask=valid, other=0).to(tl.float32)
            loss, slope = counts_loss(z, k, n, scalar)
        else:
            loss, slope = binary_loss(z, target)
        weighted = tl.where(valid, weight * slope, 0.0)
        tail = tl.exp(-tl.abs(z))
        score = tl.where(z > 0.0, 1.0, tail) / (1.0 + tail)
        tl.store(scores + tag, score, mask=valid)
        tl.store(dz + tag, weighted, mask=valid)
        total_loss += tl.where(valid, weight * loss, 0.0)
        total_weight += weight
        if NEED_HEAD:
            total_dw += tl.sum(rows * weighted[:, None], axis=0)
    tl.store(partial_loss + program, tl.sum(total_loss, axis=0))
    tl.store(partial_weight + program, tl.sum(total_weight, axis=0))
    if NEED_HEAD:
        tl.store(partial_dw + program.to(tl.int64) * D + column, total_dw, mask=inside)


@triton.jit
def finish_kernel(
    partial_loss, partial_weight, partial_dw, normalizer,  # [P], [P], [P, D], 0-d or None
    loss, inverse, dw,  # 0-d, 0-d, [D]
    P, D, value,  # value: the normaliser as a number; negative: the sum of the weights
    BLOCK_P: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, NEED_HEAD: tl.constexpr,
):
    program = tl.arange(0, BLOCK_P)
    if tl.program_id(0) == 0:
        total = value
        if normalizer is not None:
            total = tl.load(normalizer).to(tl.float32)
        else:
            if value < 0.0:
                total = tl.sum(tl.load(partial_weight + program, mask=program < P, other=0.0), axis=0)
        scale = tl.where(total == 0.0, 0.0, 1.0 / tl.where(total == 0.0, 1.0, total))
        tl.store(inverse, scale)
        tl.store(loss, scale * tl.sum(tl.load(partial_loss + program, mask=program < P, other=0.0), axis=0))
    if NEED_HEAD:
        column = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
        total_dw = tl.zeros((ROWS, BLOCK_D), dtype=tl.float32)
        for begin in range(0, P, ROWS):
            row = begin + tl.arange(0, ROWS)
            place = partial_dw + row[:, None] * D + column[None, :]
            total_dw += tl.load(place, mask=(row < P)[:, None] & (column < D)[None, :], other=0.0)
        tl.store(dw + column, tl.sum(total_dw, axis=0), mask=column < D)


@triton.jit
def hidden_gradient_kernel(
    grad, inverse, dz, head, positions, result,  # 0-d, 0-d, [M], [2 | 1, D], [M] int64, [N, D]
    N, M, D, head_row, head_column, search_steps,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PAIR: tl.constexpr, EVERY: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    if EVERY:  # M = N, so the increasing positions are 0, 1, 2, ...
        low = row
        tagged = row < N
    else:
        low = tl.zeros((BLOCK_N,), dtype=tl.int32)
        high = low + M
        for _ in range(search_steps):
            middle = (low + high) // 2
            active = low < high
            before = tl.load(positions + middle, mask=active, other=0) < row
            low = tl.where(active & before, middle + 1, low)
            high = tl.where(active & ~before, middle, high)
        tagged = (low < M) & (tl.load(positions + low, mask=low < M, other=-1) == row)
    if tl.max(tagged.to(tl.int32), axis=0) > 0:
        scale = tl.load(grad).to(tl.float32) * tl.load(inverse)
        coefficient = scale * tl.load(dz + low, mask=tagged, other=0.0)
        for begin in range(0, D, BLOCK_D):
            column = begin + tl.arange(0, BLOCK_D)
            vector = direction(head, head_row, head_column, column, column < D, PAIR)
            gradient = tl.where(tagged[:, None], coefficient[:, None] * vector[None, :], 0.0)
            place = result + row[:, None] * D + column[None, :]
            tl.store(place, gradient.to(result.dtype.element_ty), mask=(row < N)[:, None] & (column < D)[None, :])
    else:  # most blocks of a long batch: nothing to read
        zeros = tl.zeros((BLOCK_N, BLOCK_D), dtype=result.dtype.element_ty)
        for begin in range(0, D, BLOCK_D):
            column = begin + tl.arange(0, BLOCK_D)
            place = result + row[:, None] * D + column[None, :]
            tl.store(place, zeros, mask=(row < N)[:, None] & (column < D)[None, :])


@triton.jit
def head_gradient_kernel(
    grad, inverse, dz, dw, dhead, dbias,  # 0-d, 0-d, [M], [D], [2 | 1, D] or None, [2 | 1] or None
    M, D,
    BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, PAIR: tl.constexpr,
):
    scale = tl.load(grad).to(tl.float32) * tl.load(inverse)
    if dhead is not None:
        column = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
        gradient = scale * tl.load(dw + column, mask=column < D, other=0.0)
        tl.store(dhead + column, gradient.to(dhead.dtype.element_ty), mask=column < D)
        if PAIR:
            tl.store(dhead + D + column, (-gradient).to(dhead.dtype.element_ty), mask=column < D)
    if dbias is not None:  # noqa: SIM102  (Triton resolves the outer test while compiling)
        if tl.program_id(0) == 0:
            total = tl.zeros((BLOCK_M,), dtype=tl.float32)
            for begin in range(0, M, BLOCK_M):
                tag = begin + tl.arange(0, BLOCK_M)
                total += tl.load(dz + tag, mask=tag < M, other=0.0)
            gradient_bias = scale * tl.sum(total, axis=0)
            tl.store(dbias, gradient_bias.to(dbias.dtype.element_ty))
            if PAIR:
                tl.store(dbias + 1, (-gradient_bias).to(dbias.dtype.element_ty))


def blocks(width: int) -> tuple[int, int, int]:
    """(BLOCK_M, BLOCK_D, warps) of the forward kernel: whole rows, and no more of them than registers hold.

    Raises:
        InputError: for more than 16,384 hidden units.
    """
    if width > MAX_WIDTH:
        raise InputError(f"hidden: expected at most {MAX_WIDTH} hidden units on a GPU, found {width}")
    block = max(64, triton.next_power_of_2(width))
    return max(1, min(16, 8192 // block)), block, 8 if block <= 8192 else 16


def programs(tensor: Tensor) -> int:
    """How many programs the forward kernel runs: fixed per device, so that sums are added in the same order."""
    if not tensor.is_cuda:
        return 3  # Triton's interpreter
    return 2 * torch.cuda.get_device_properties(tensor.device).multi_processor_count


def step_loss(hidden: Tensor, head: Tensor, bias: Tensor | None, positions: Tensor, targets: Tensor | None,
              outcomes: Tensor | None, offsets: Tensor | None, eta: float, successes: Tensor | None,
              trials: Tensor | None, concentration: float, weights: Tensor | None, normalizer: Tensor | None,
              normalizer_value: float | None, need_head: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Loss, scores [M], dz [M], dw [D] (empty unless needed) and 1 / normalizer: as the registered operation."""
    (rows, width), steps = hidden.shape, positions.shape[0]
    block_m, block_d, warps = blocks(width)
    mode: int
    first: Tensor | None
    second: Tensor | None
    if successes is not None:
        mode, first, second = COUNTS, successes, trials
    elif outcomes is not None:
        mode, first, second = OUTCOMES, outcomes, offsets
    else:
        mode, first, second = TARGETS, targets, None
    assert first is not None
    binary = first.dtype in (torch.uint8, torch.bool)
    first = first.contiguous().view(torch.uint8) if binary else first.contiguous()
    count = min(programs(hidden), max(1, triton.cdiv(steps, block_m)))
    new = hidden.new_empty
    scores, dz = new(steps, dtype=torch.float32), new(steps, dtype=torch.float32)
    partial_loss, partial_weight = new(count, dtype=torch.float32), new(count, dtype=torch.float32)
    partial_dw = new((count, width) if need_head else 0, dtype=torch.float32)
    loss, inverse = new((), dtype=torch.float32), new((), dtype=torch.float32)
    dw = new(width if need_head else 0, dtype=torch.float32)
    lanes = min(128, max(16, triton.next_power_of_2(max(1, first.shape[0] // max(1, steps)))))
    pair = head.shape[0] == 2
    step_loss_kernel[(count,)](
        hidden, head, None if bias is None else bias.contiguous(), positions.contiguous(), first,
        None if second is None else second.contiguous(), None if weights is None else weights.contiguous(), scores, dz,
        partial_loss, partial_weight, partial_dw, rows, steps, width, hidden.stride(0), hidden.stride(1),
        head.stride(0), head.stride(1), concentration if mode == COUNTS else eta, BLOCK_M=block_m, BLOCK_D=block_d,
        BLOCK_R=lanes, MODE=mode, BINARY=binary, PAIR=pair, NEED_HEAD=need_head, STAGES=STAGES, num_warps=warps,
        maxnreg=MAX_REGISTERS)
    finish_kernel[(triton.cdiv(width, FINISH_WIDTH) if need_head else 1,)](
        partial_loss, partial_weight, partial_dw, normalizer, loss, inverse, dw, count, width,
        -1.0 if normalizer_value is None else normalizer_value, BLOCK_P=triton.next_power_of_2(count),
        BLOCK_D=FINISH_WIDTH, ROWS=FINISH_ROWS, NEED_HEAD=need_head)
    return loss, scores, dz, dw, inverse


def step_loss_backward(grad: Tensor, inverse: Tensor, dz: Tensor, dw: Tensor, head: Tensor, bias: Tensor | None,
                       positions: Tensor, rows: int, dtype: torch.dtype, need_hidden: bool, need_head: bool,
                       need_bias: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of hidden [rows, D] in `dtype`, of head and of bias; empty where not needed."""
    steps, width, pair = dz.shape[0], head.shape[1], head.shape[0] == 2
    dhidden = head.new_empty((rows, width) if need_hidden else 0, dtype=dtype)
    if need_hidden and rows:
        hidden_gradient_kernel[(triton.cdiv(rows, 16),)](
            grad, inverse, dz, head, positions.contiguous(), dhidden, rows, steps, width, head.stride(0),
            head.stride(1), steps.bit_length(), BLOCK_N=16, BLOCK_D=256, PAIR=pair, EVERY=steps == rows, num_warps=8)
    dhead = torch.empty(head.shape if need_head else (0,), dtype=head.dtype, device=head.device)
    dbias = head.new_empty(0) if bias is None or not need_bias else bias.new_empty(bias.shape)
    if need_head or dbias.numel():
        head_gradient_kernel[(triton.cdiv(width, 512) if need_head else 1,)](
            grad, inverse, dz, dw, dhead if need_head else None, dbias if dbias.numel() else None, steps, width,
            BLOCK_M=1024, BLOCK_D=512, PAIR=pair)
    return dhidden, dhead, dbias
