"""Soft-target cross-entropy over the whole vocabulary, some rows at a time, in plain PyTorch.

For a row with logits l over V tokens: loss = ln sum exp(l) - v l[plus] - (1 - v) l[minus], and
dl = softmax(l) - v 1[plus] - (1 - v) 1[minus]. The block of logits is the only [rows, V] memory, and its gradient is
written over it. The gradients are linear in the loss's own gradient, so they are computed in the forward pass, while
the logits are there: 2 M V D FLOPs without gradients, 6 M V D with both.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK_ELEMENTS = 1 << 22  # logits held at a time: 16 MB of float32


def forward(rows: Tensor, lm_head: Tensor, targets: Tensor, weights: Tensor, labels: list[int], need: list[bool],
            block_elements: int = BLOCK_ELEMENTS) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses per row and their gradients.

    Args:
        rows: [M, D] gathered hidden rows, in the computing dtype.
        lm_head: [V, D].
        targets, weights: [M] in the computing dtype.
        labels: the ids of " +" and " -".
        need: whether the gradients of the rows and of lm_head are wanted.

    Returns:
        losses [M] without weights; z = l[plus] - l[minus] [M]; the weighted gradients of the rows [M, D] and of
        lm_head [V, D], empty where not needed.
    """
    count, width = rows.shape
    vocabulary, (plus, minus), (need_rows, need_head) = lm_head.shape[0], labels, need
    head = lm_head.detach().to(rows.dtype)
    losses, margins = rows.new_empty(count), rows.new_empty(count)
    row_gradient = rows.new_empty((count, width) if need_rows else 0)
    head_gradient = rows.new_zeros((vocabulary, width) if need_head else 0)
    block = max(1, min(count, block_elements // vocabulary)) if count else 1
    for start in range(0, count, block):
        part = slice(start, min(start + block, count))
        logits = rows[part] @ head.T
        up, down = logits[:, plus].clone(), logits[:, minus].clone()
        target = targets[part]
        highest = logits.amax(dim=1, keepdim=True)
        exponentials = logits.sub_(highest).exp_()
        total = exponentials.sum(dim=1, keepdim=True)
        top = highest.squeeze(1)
        losses[part] = total.log().squeeze(1) + target * (top - up) + (1 - target) * (top - down)
        margins[part] = up - down
        if not (need_rows or need_head):
            continue
        gradient = exponentials.div_(total)
        gradient[:, plus] -= target
        gradient[:, minus] -= 1 - target
        gradient.mul_(weights[part].unsqueeze(1))
        if need_rows:
            torch.mm(gradient, head, out=row_gradient[part])
        if need_head:
            head_gradient.addmm_(gradient.T, rows[part])
    return losses, margins, row_gradient, head_gradient
