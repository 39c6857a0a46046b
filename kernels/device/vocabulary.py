# mypy: disable-error-code="no-untyped-def"
"""The step loss over the whole vocabulary on the GPU: matrix products by cuBLAS, everything else in one Triton kernel.

Logits exist for a block of rows only: BLOCK_ELEMENTS in float32, and their gradient in the matrix dtype. The kernel
reads a row of logits twice: once for the maximum and the sum (online), once for its gradient. The head's gradient
is added up in float32; each block reads and writes all of it, so the blocks are large. 2 M V D FLOPs
without gradients, 6 M V D with both.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from erprm.kernels.reference.losses import inverse_normalizer

BLOCK_ELEMENTS = 1 << 28
ROWS = 128  # blocks are multiples of a matrix tile


@triton.jit
def vocabulary_kernel(
    logits, targets, weights, losses, scores, gradient,  # [B, V] float32, [B], [B] or None, [B], [B], [B, V] or None
    V, plus, minus,
    BLOCK_V: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    line = logits + row * V
    highest = tl.full((BLOCK_V,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_V,), dtype=tl.float32)
    for begin in range(0, V, BLOCK_V):
        token = begin + tl.arange(0, BLOCK_V)
        value = tl.load(line + token, mask=token < V, other=float("-inf"))
        higher = tl.maximum(highest, value)
        started = higher > float("-inf")
        total = tl.where(started, total * tl.exp(tl.where(started, highest - higher, 0.0))
                         + tl.exp(tl.where(started, value - higher, float("-inf"))), 0.0)
        highest = higher
    top = tl.max(highest, axis=0)
    total_sum = tl.sum(total * tl.exp(highest - top), axis=0)
    up, down = tl.load(line + plus), tl.load(line + minus)
    target = tl.load(targets + row).to(tl.float32)
    tl.store(losses + row, tl.log(total_sum) + target * (top - up) + (1.0 - target) * (top - down))
    z = up - down
    tail = tl.exp(-tl.abs(z))
    tl.store(scores + row, tl.where(z > 0.0, 1.0, tail) / (1.0 + tail))
    if gradient is not None:
        weight = 1.0
        if weights is not None:
            weight = tl.load(weights + row).to(tl.float32)
        for begin in range(0, V, BLOCK_V):
            token = begin + tl.arange(0, BLOCK_V)
            value = tl.load(line + token, mask=token < V, other=float("-inf"))
            wanted = tl.where(token == plus, target, 0.0) + tl.where(token == minus, 1.0 - target, 0.0)
            slope = weight * (tl.exp(value - top) / total_sum - wanted)
            tl.store(gradient + row * V + token, slope.to(gradient.dtype.element_ty), mask=token < V)


def matrix_dtype(hidden: Tensor, lm_head: Tensor) -> torch.dtype:
    """The dtype of the matrix products: the narrower of the two, as autocast would have it."""
    return hidden.dtype if hidden.dtype.itemsize < lm_head.dtype.itemsize else lm_head.dtype


def product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right in float32, without rounding to a narrower input dtype."""
    if left.is_cuda and left.dtype != torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, in float32."""
    if left.is_cuda and left.dtype != torch.float32:
        torch.addmm(total, left, right, out_dtype=torch.float32, out=total)
    else:
        total.addmm_(left.float(), right.float())


def vocab_step_loss(hidden: Tensor, lm_head: Tensor, positions: Tensor, targets: Tensor, plus: int, minus: int,
                    weights: Tensor | None, normalizer: Tensor | None, normalizer_value: float | None,
                    need_hidden: bool, need_head: bool, block_elements: int = BLOCK_ELEMENTS,
                    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Loss, scores [M], unscaled gradients of the tagged rows [M, D] and of lm_head [V, D], and 1 / normalizer."""
    steps, (vocabulary, width) = positions.shape[0], lm_head.shape
    with torch.autocast(hidden.device.type, enabled=False):
        dtype = matrix_dtype(hidden, lm_head)
        rows = hidden.index_select(0, positions).to(dtype)
        head = lm_head.to(dtype)
        new = hidden.new_empty
        losses, scores = new(steps, dtype=torch.float32), new(steps, dtype=torch.float32)
        drows = new((steps, width) if need_hidden else 0, dtype=torch.float32)
        dhead = hidden.new_zeros((vocabulary, width) if need_head else 0, dtype=torch.float32)
        block = max(1, min(steps, block_elements // vocabulary))
        block -= block % ROWS if block > ROWS else 0
        for begin in range(0, steps, block):
            part = slice(begin, min(begin + block, steps))
            logits = product(rows[part], head.T)
            slopes = new(logits.shape, dtype=dtype) if need_hidden or need_head else None
            vocabulary_kernel[(logits.shape[0],)](
                logits, targets[part], None if weights is None else weights[part], losses[part], scores[part], slopes,
                vocabulary, plus, minus, BLOCK_V=min(4096, triton.next_power_of_2(vocabulary)), num_warps=8)
            if slopes is not None and need_hidden:
                drows[part] = product(slopes, head)
            if slopes is not None and need_head:
                add_product(dhead, slopes.T, rows[part])
        weight = torch.ones_like(losses) if weights is None else weights.float()
        inverse = inverse_normalizer(weight, weight, normalizer, normalizer_value)
        scale = inverse if isinstance(inverse, Tensor) else weight.new_full((), inverse)
        return (losses * weight).sum() * scale, scores, drows, dhead, scale


def vocab_step_loss_backward(grad: Tensor, inverse: Tensor, drows: Tensor, dhead: Tensor, positions: Tensor, rows: int,
                             hidden_dtype: torch.dtype, head_dtype: torch.dtype, need_hidden: bool, need_head: bool,
                             ) -> tuple[Tensor, Tensor]:
    """Gradients of hidden [rows, D] and lm_head [V, D] in their dtypes; empty where not needed."""
    scale = grad.float() * inverse
    dhidden = drows.new_empty(0, dtype=hidden_dtype)
    if need_hidden:
        dhidden = drows.new_zeros((rows, drows.shape[1]), dtype=hidden_dtype)
        dhidden.index_copy_(0, positions, (drows * scale).to(hidden_dtype))
    return dhidden, (dhead * scale).to(head_dtype) if need_head else drows.new_empty(0, dtype=head_dtype)
