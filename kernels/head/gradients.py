# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The gradients of the losses on a few head rows, on the GPU: one launch.

The hidden gradient is written in one pass, zeros and tagged rows alike: a program finds the tags of its rows by binary
search in the increasing positions, or knows that every row has one; a thread has eight rows of eight columns, so that
what it reads of the head serves eight times. Further programs of the same launch add up the
forward pass's shares of the head's gradient, in a fixed order, and scale them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_N, BLOCK_D = 16, 512
SHARES, COLUMNS = 64, 32  # 16 loads in flight a thread, and a program for every 32 columns of the head


@triton.jit(do_not_specialize=("N", "M", "P", "search_steps"))
def gradients_kernel(
    grad, dz, dw, db, head, positions,  # 0-d, [M, H], [P, H, D], [H], [1 + H, D], [M] int64
    dhidden, dhead, dbias,  # [N, D], [1 + H, D], [1 + H]; None where not needed
    N, M, D, P, search_steps,
    H: tl.constexpr, EVERY: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, SHARES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    blocks = 0
    scale = tl.load(grad).to(tl.float32)
    if dhidden is not None:
        blocks = tl.cdiv(N, BLOCK_N)
    program = tl.program_id(0)
    if program < blocks:
        if dhidden is not None:
            row = program.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
            if EVERY:  # M = N, so the increasing positions are 0, 1, 2, ...
                low = row
                tagged = row < N
            else:
                low = tl.zeros((BLOCK_N,), dtype=tl.int64)
                high = low + M
                for _ in range(search_steps):
                    middle = (low + high) // 2
                    active = low < high
                    before = tl.load(positions + middle, mask=active, other=0) < row
                    low = tl.where(active & before, middle + 1, low)
                    high = tl.where(active & ~before, middle, high)
                tagged = (low < M) & (tl.load(positions + low, mask=low < M, other=-1) == row)
            if tl.max(tagged.to(tl.int32), axis=0) > 0:
                coefficients = ()  # read once: a store to dhidden could have changed them, for all the compiler knows
                for h in tl.static_range(H):
                    loaded = tl.load(dz + low * H + h, mask=tagged, other=0.0)
                    coefficients += (scale * loaded,)  # type: ignore[assignment]
                for begin in range(0, D, BLOCK_D):
                    column = begin + tl.arange(0, BLOCK_D)
                    minus = tl.load(head + column, mask=column < D, other=0.0).to(tl.float32)
                    gradient = tl.zeros((BLOCK_N, BLOCK_D), dtype=tl.float32)
                    for h in tl.static_range(H):
                        vector = tl.load(head + (1 + h) * D + column, mask=column < D, other=0.0).to(tl.float32) - minus
                        gradient += coefficients[h][:, None] * vector[None, :]
                    if not EVERY:
                        gradient = tl.where(tagged[:, None], gradient, 0.0)
                    place = dhidden + row[:, None] * D + column[None, :]
                    tl.store(place, gradient.to(dhidden.dtype.element_ty),
                             mask=(row < N)[:, None] & (column < D)[None, :])
            else:  # most blocks of a long batch: nothing to read
                zeros = tl.zeros((BLOCK_N, BLOCK_D), dtype=dhidden.dtype.element_ty)
                for begin in range(0, D, BLOCK_D):
                    column = begin + tl.arange(0, BLOCK_D)
                    place = dhidden + row[:, None] * D + column[None, :]
                    tl.store(place, zeros, mask=(row < N)[:, None] & (column < D)[None, :])
    else:
        if dhead is not None:
            column = (program - blocks) * COLUMNS + tl.arange(0, COLUMNS)
            minus_row = tl.zeros((COLUMNS,), dtype=tl.float32)
            for h in tl.static_range(H):
                total = tl.zeros((SHARES, COLUMNS), dtype=tl.float32)
                for begin in range(0, P, SHARES):
                    share = begin + tl.arange(0, SHARES)
                    place = dw + (share[:, None].to(tl.int64) * H + h) * D + column[None, :]
                    total += tl.load(place, mask=(share < P)[:, None] & (column < D)[None, :], other=0.0)
                gradient_row = scale * tl.sum(total, axis=0)
                tl.store(dhead + (1 + h) * D + column, gradient_row.to(dhead.dtype.element_ty), mask=column < D)
                minus_row -= gradient_row
            tl.store(dhead + column, minus_row.to(dhead.dtype.element_ty), mask=column < D)
        if dbias is not None:  # noqa: SIM102  (Triton resolves the outer test while compiling)
            if program == blocks:
                minus_bias = scale * 0.0
                for h in tl.static_range(H):
                    gradient_bias = scale * tl.load(db + h)
                    tl.store(dbias + 1 + h, gradient_bias.to(dbias.dtype.element_ty))
                    minus_bias -= gradient_bias
                tl.store(dbias, minus_bias.to(dbias.dtype.element_ty))


def warps(margins: int) -> int:
    """Warps a program: where the coefficients of eight rows would not fit in the registers, a thread has four rows."""
    return 4 if margins <= 8 else 8


def gradients(grad: Tensor, saved: list[Tensor], head: Tensor, bias: Tensor | None, positions: Tensor, rows: int,
              dtype: torch.dtype, need: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.gradients`."""
    dz, dw, db = saved
    (steps, margins), width = dz.shape, head.shape[1]
    dhidden = head.new_empty((rows, width) if need[0] else 0, dtype=dtype)
    dhead = torch.empty(head.shape if need[1] else (0,), dtype=head.dtype, device=head.device)
    dbias = bias.new_empty(bias.shape) if need[2] and bias is not None else head.new_empty(0)
    blocks = triton.cdiv(rows, BLOCK_N) if need[0] else 0
    more = triton.cdiv(width, COLUMNS) if need[1] else min(1, dbias.numel())
    if blocks + more:
        with torch.cuda.device_of(head):
            gradients_kernel[(blocks + more,)](
                grad, dz, dw, db, head.contiguous(), positions.contiguous(), dhidden if need[0] else None,
                dhead if need[1] else None, dbias if dbias.numel() else None, rows, steps, width,
                dw.shape[0], steps.bit_length(), H=margins, EVERY=steps == rows, BLOCK_N=BLOCK_N, BLOCK_D=BLOCK_D,
                SHARES=SHARES, COLUMNS=COLUMNS, num_warps=warps(margins))
    return dhidden, dhead, dbias
