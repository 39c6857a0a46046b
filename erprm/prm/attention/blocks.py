"""FlexAttention over spans: its table of blocks is made on the host, and it is compiled once for every length.

    table = block_table(ends)                         # with the batch, from the ends alone; never [T, T]
    mask = block_mask(torch.from_numpy(table), ends, positions, window)
    base.set_attn_implementation(FLEX)

The entry is compiled with dynamic shapes and fails where Dynamo would give up: unfused attention, which it would fall
back to in silence, holds all of [T, T].
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import repeat_kv

FLEX = "erprm_flex"
BLOCK = 128  # tokens
MULTIPLE = 512  # lengths of batches are multiples of it, so that few differ
PARTIAL, FULL, EITHER = range(3)  # which blocks of keys a block of queries sees, by section of the table


def block_table(ends: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Which blocks of keys each block of queries sees, in part, wholly, and either.

    Args:
        ends: [B, T] as in `erprm.prm.attention.spans`; T a multiple of `BLOCK`.

    Returns:
        [3, B, Q, 1 + Q] int32: for each block of queries how many blocks of keys, and their numbers, then 0.
    """
    batch, length = ends.shape
    size = length // BLOCK
    blocks = ends.reshape(batch, 1, size, BLOCK)
    query, key = np.arange(size)[:, None], np.arange(size)
    seen = (key < query) & (blocks.max(axis=3) > query * BLOCK) | (key == query)  # by the first query, or on the way
    full = (key < query) & (blocks.min(axis=3) >= (query + 1) * BLOCK)
    table = np.zeros((3, batch, size, 1 + size), np.int32)
    for section, chosen in ((PARTIAL, seen & ~full), (FULL, full), (EITHER, seen)):
        count = chosen.sum(axis=2)
        table[section, :, :, 0] = count
        order = np.argsort(~chosen, axis=2, kind="stable")
        table[section, :, :, 1:] = np.where(key < count[:, :, None], order, 0)
    return table


def block_mask(table: Tensor, ends: Tensor, positions: Tensor | None = None, window: int | None = None) -> BlockMask:
    """FlexAttention's form of `erprm.prm.attention.spans.dense_mask`.

    Args:
        table: of `block_table`, on the device.
        ends, positions: [B, T] int; window: most tokens that a query sees. With a window every block is looked into.
    """
    def rule(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < ends[batch, key])

    def windowed(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        assert positions is not None
        assert window is not None
        return rule(batch, head, query, key) & (positions[batch, query] - positions[batch, key] < window)

    counts, indices = table[:, :, None, :, 0], table[:, :, None, :, 1:]
    if window is not None:
        return BlockMask.from_kv_blocks(counts[EITHER], indices[EITHER], BLOCK_SIZE=BLOCK, mask_mod=windowed)
    return BlockMask.from_kv_blocks(counts[PARTIAL], indices[PARTIAL], counts[FULL], indices[FULL], BLOCK_SIZE=BLOCK,
                                    mask_mod=rule)


@functools.cache
def entry(backend: Any = "inductor") -> Any:
    """FlexAttention compiled for any length; raises where it would be compiled too often, by torch's own limit."""
    return torch.compile(flex_attention, dynamic=True, fullgraph=True, backend=backend)


def flex_forward(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: BlockMask, *,
                 scaling: float | None = None, softcap: float | None = None, s_aux: Tensor | None = None,
                 **ignored: Any) -> tuple[Tensor, Tensor | None]:
    """Attention of query [B, H, T, d] to key and value [B, H_kv, T, d] in the form that transformers calls.

    Returns:
        [B, T, H, d] and None.
    """
    if s_aux is not None:  # sinks need the sums of every row, which transformers' own entry works in
        stock: tuple[Tensor, Tensor | None] = flex_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, softcap=softcap, s_aux=s_aux)
        return stock

    def capped(score: Tensor, batch: Tensor, head: Tensor, at_query: Tensor, at_key: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap) if softcap is not None else score

    groups = query.shape[1] // key.shape[1]
    shared = query.shape[1] & (query.shape[1] - 1) == 0  # it takes groups of heads where their number is a power of two
    if not shared:
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    run = flex_attention if torch.compiler.is_compiling() else entry()
    found: Tensor = run(query, key, value, score_mod=None if softcap is None else capped, block_mask=attention_mask,
                        scale=scaling, enable_gqa=shared)
    return found.transpose(1, 2).contiguous(), None


AttentionInterface.register(FLEX, flex_forward)
