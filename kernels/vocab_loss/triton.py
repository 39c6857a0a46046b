# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The step loss over the whole vocabulary on the GPU: matrix products by cuBLAS, everything else in one Triton kernel.

Logits exist for a block of rows only: BLOCK_ELEMENTS of float32. The kernel reads a row of them twice, once for the
maximum and the sum (online), once for its gradient, which it writes in the matrix dtype over the row's beginning. The
head's gradient is added up in float32; each block reads and writes all of it, so the blocks are large. Memory: the
block, and that sum. 2 M V D FLOPs without gradients, 6 M V D with both.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from erprm.kernels.head.reference import inverse
from erprm.kernels.maths import sigmoid

BLOCK_ELEMENTS = 1 << 28
ROWS = 128  # blocks are multiples of a matrix tile
LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def add_exponentials(highest, total, scaled):
    """The running maximum and sum of 2^(scaled - maximum) [LANES] with `scaled` [LANES, 16] added."""
    higher = tl.maximum(highest, tl.max(scaled, axis=1))
    started = higher > float("-inf")  # a row may be masked out with minus infinities
    shift = tl.where(started, higher, 0.0)
    return higher, total * tl.exp2(highest - shift) + tl.sum(tl.exp2(scaled - shift[:, None]), axis=1)


@triton.jit
def vocabulary_kernel(
    logits, targets, weights, losses, scores,  # [B, V] float32, [B], [B] or None, [B], [B]
    gradient,  # [B, V] in the matrix dtype, in the memory of `logits`; or None
    V, plus, minus, gradient_row,
    BLOCK_V: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    line = logits + row * V
    lane = tl.arange(0, BLOCK_V // 16)[:, None] * 16 + tl.arange(0, 16)[None, :]
    highest = tl.full((BLOCK_V // 16,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_V // 16,), dtype=tl.float32)
    whole = V // BLOCK_V * BLOCK_V
    for begin in range(0, whole, BLOCK_V):
        highest, total = add_exponentials(highest, total, tl.load(line + begin + lane) * LOG2E)
    if whole < V:
        last = tl.load(line + whole + lane, mask=whole + lane < V, other=float("-inf"))
        highest, total = add_exponentials(highest, total, last * LOG2E)
    top = tl.max(highest, axis=0)
    log_sum = tl.log(tl.sum(total * tl.exp2(highest - top), axis=0))
    top *= LN2
    up, down = tl.load(line + plus), tl.load(line + minus)
    target = tl.load(targets + row).to(tl.float32)
    tl.store(losses + row, log_sum + target * (top - up) + (1.0 - target) * (top - down))
    tl.store(scores + row, sigmoid(up - down))
    if gradient is not None:
        weight = 1.0
        if weights is not None:
            weight = tl.load(weights + row).to(tl.float32)
        shift = (top + log_sum) * LOG2E
        slopes = gradient + row * gradient_row
        for begin in range(0, whole, BLOCK_V):
            slope = weight * tl.exp2(tl.load(line + begin + lane) * LOG2E - shift)
            tl.debug_barrier()  # all have read what the next line may overwrite
            tl.store(slopes + begin + lane, slope.to(gradient.dtype.element_ty))
        if whole < V:
            inside = whole + lane < V
            slope = weight * tl.exp2(tl.load(line + whole + lane, mask=inside, other=0.0) * LOG2E - shift)
            tl.debug_barrier()
            tl.store(slopes + whole + lane, slope.to(gradient.dtype.element_ty), mask=inside)
        tl.debug_barrier()
        up_slope = weight * (tl.exp2(up * LOG2E - shift) - target)
        down_slope = weight * (tl.exp2(down * LOG2E - shift) - (1.0 - target))
        tl.store(slopes + plus, up_slope.to(gradient.dtype.element_ty))
        tl.store(slopes + minus, down_slope.to(gradient.dtype.element_ty))


def matrix_dtype(hidden: Tensor, lm_head: Tensor) -> torch.dtype:
    """The dtype of the matrix products: autocast's where it is on, else the narrower of the two."""
    if torch.is_autocast_enabled(hidden.device.type):
        return torch.get_autocast_dtype(hidden.device.type)
    return hidden.dtype if hidden.dtype.itemsize < lm_head.dtype.itemsize else lm_head.dtype


def multiply(left: Tensor, right: Tensor, out: Tensor, add: bool = False) -> None:
    """out = left @ right, or out += left @ right, in float32, without rounding to a narrower input dtype."""
    if left.is_cuda and left.dtype != torch.float32:
        if add:
            torch.addmm(out, left, right, out_dtype=torch.float32, out=out)
        else:
            torch.mm(left, right, out_dtype=torch.float32, out=out)
    elif add:
        out.addmm_(left.float(), right.float())
    else:
        torch.mm(left.float(), right.float(), out=out)


def forward(hidden: Tensor, lm_head: Tensor, positions: Tensor, targets: Tensor, labels: list[int], scale: list[Tensor],
            need: list[bool], block_elements: int = BLOCK_ELEMENTS) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Loss, scores [M], gradients of the tagged rows [M, D] and of lm_head [V, D] (float32, empty unless needed), and
    1 / normalizer, which they are still to be multiplied by."""
    steps, (vocabulary, width) = positions.shape[0], lm_head.shape
    dtype = matrix_dtype(hidden, lm_head)
    weights = scale[1].contiguous() if len(scale) > 1 else None
    targets = targets.contiguous()
    with torch.autocast(hidden.device.type, enabled=False), torch.cuda.device_of(hidden):
        rows = hidden.index_select(0, positions).to(dtype)
        head = lm_head.to(dtype)
        new = hidden.new_empty
        losses, scores = new(steps, dtype=torch.float32), new(steps, dtype=torch.float32)
        drows = new((steps, width) if need[0] else 0, dtype=torch.float32)
        dhead = (new if steps else hidden.new_zeros)((vocabulary, width) if need[1] else 0, dtype=torch.float32)
        block = max(1, min(steps, block_elements // vocabulary))
        block -= block % ROWS if block > ROWS else 0
        buffer = new((block, vocabulary), dtype=torch.float32)
        for begin in range(0, steps, block):
            part = slice(begin, min(begin + block, steps))
            logits = buffer[: part.stop - begin]
            slopes = logits.view(dtype)[:, :vocabulary] if any(need) else None
            multiply(rows[part], head.T, logits)
            vocabulary_kernel[(logits.shape[0],)](
                logits, targets[part], None if weights is None else weights[part], losses[part], scores[part], slopes,
                vocabulary, *labels, 0 if slopes is None else slopes.stride(0),
                BLOCK_V=min(4096, max(16, triton.next_power_of_2(vocabulary))), num_warps=8)
            if slopes is not None and need[0]:
                multiply(slopes, head, drows[part])
            if slopes is not None and need[1]:
                multiply(slopes.T, rows[part], dhead, add=begin > 0)
        factor = inverse(scale[0], torch.float32)
        return (losses if weights is None else losses * weights).sum() * factor, scores, drows, dhead, factor
