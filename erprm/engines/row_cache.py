"""A key/value cache whose rows come and go: written in place, refilled row by row, compacted when rows have finished.

All rows end at the same column, so every step of a batch writes one column; a row's own tokens reach back from there
and what lies before them is masked. Buffers are allocated with headroom, so that a step copies nothing but its column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


@dataclass(frozen=True)
class Prefilled:
    """Keys and values of P prompts that end at the same column; `lengths` [P] counts each prompt's own tokens."""

    layers: list[tuple[Tensor, Tensor]]  # per layer: keys, values [P, H, T, D]
    lengths: Tensor  # int64 [P]
    logits: Tensor  # [P, V] behind the last prompt token

    @property
    def columns(self) -> int:
        return int(self.layers[0][0].shape[2])


class _RowLayer(DynamicLayer):
    """One layer's buffers [R, H, C, D], of which the first `used` columns are written."""

    def __init__(self, keys: Tensor, values: Tensor, used: int) -> None:
        super().__init__()
        self.keys, self.values, self.used = keys, values, used
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def update(self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object,
               ) -> tuple[Tensor, Tensor]:
        """Write the new columns and return everything so far, without a copy."""
        end = self.used + key_states.shape[2]
        self.keys[:, :, self.used : end] = key_states
        self.values[:, :, self.used : end] = value_states
        self.used = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.used


class RowCache(Cache):
    """The cache of R rows together with the mask of the columns that each row may see."""

    def __init__(self, like: Sequence[tuple[Tensor, Tensor]], rows: int, columns: int, headroom: int) -> None:
        """Zeroed buffers for `rows` rows with heads as in `like` (keys and values of each layer), `columns` columns
        taken and `headroom` free ones."""
        layers = []
        for keys, values in like:  # zeros, not garbage: a masked column still meets a weight of 0
            shape = (rows, keys.shape[1], columns + headroom)
            layers.append(_RowLayer(keys.new_zeros(*shape, keys.shape[3]), values.new_zeros(*shape, values.shape[3]),
                                    columns))
        super().__init__(layers=layers)
        self.mask = torch.zeros(rows, columns + headroom, dtype=torch.bool, device=like[0][0].device)
        self.mask[:, columns:] = True

    @property
    def columns(self) -> int:
        """Columns written so far."""
        return int(self.layers[0].used)

    @property
    def capacity(self) -> int:
        return int(self.mask.shape[1])

    def admit(self, rows: Tensor, prefilled: Prefilled, prompts: Tensor) -> None:
        """Put prompt `prompts[i]` of `prefilled` into row `rows[i]` (both int64 [A]), ending at the current column.

        Needs prompts no longer than `self.columns`; the padding before them may be longer.
        """
        end = self.columns
        width = min(end, prefilled.columns)
        for layer, (keys, values) in zip(self.layers, prefilled.layers, strict=True):
            layer.keys[rows, :, end - width : end] = keys[prompts, :, prefilled.columns - width :]
            layer.values[rows, :, end - width : end] = values[prompts, :, prefilled.columns - width :]
        self._see(rows, prefilled.lengths[prompts])

    def _see(self, rows: Tensor, lengths: Tensor) -> None:
        """Let each of `rows` see its last `lengths` written columns and all that are written later."""
        columns = torch.arange(self.columns, device=lengths.device)
        self.mask[rows, : self.columns] = columns[None] >= self.columns - lengths[:, None]

    def repacked(self, keep: Tensor, lengths: Tensor, rows: int, columns: int, headroom: int) -> RowCache:
        """A new cache of `rows` rows whose first ones are `keep` (int64 [K], with own `lengths` [K] <= `columns`)."""
        fresh = RowCache([(layer.keys, layer.values) for layer in self.layers], rows, columns, headroom)
        width = min(columns, self.columns)
        kept = slice(0, keep.shape[0])
        for new, old in zip(fresh.layers, self.layers, strict=True):
            for target, source in ((new.keys, old.keys), (new.values, old.values)):
                target[kept, :, columns - width : columns] = source[keep, :, self.columns - width : self.columns]
        fresh._see(torch.arange(keep.shape[0], device=keep.device), lengths)
        return fresh
