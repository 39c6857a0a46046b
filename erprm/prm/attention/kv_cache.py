"""Keys and values of tokens that later forwards attend to again: one buffer per layer, a token a row.

    cache = KeyValueCache()
    base(..., paths=PathTensors.of(groups, device, dtype, cache))     # writes its tokens behind those that are kept
    cache.keep(len(ids))                                              # else the next forward writes over them
    cache.compact(places)                                             # only these stay

Paths (`erprm.prm.attention.paths`) name tokens by number, so that a kept token costs a later forward nothing but its
gathered keys.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Ints = npt.NDArray[np.int64]


class KeyValueCache:
    """Buffers [C, H_kv, d] of keys and of values for every layer; the first `used` rows are kept tokens."""

    def __init__(self) -> None:
        self.used = 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write the tokens of a forward, [N, H_kv, d] each, behind the kept ones of a layer.

        Returns:
            The buffers; numbers below `used` are kept tokens, `used` and on those of this forward.
        """
        end = self.used + key.shape[0]
        if layer not in self._layers or self._layers[layer][0].shape[0] < end:
            self._layers[layer] = (self._grown(layer, 0, key, end), self._grown(layer, 1, value, end))
        keys, values = self._layers[layer]
        keys[self.used: end] = key
        values[self.used: end] = value
        return keys, values

    def keep(self, tokens: int) -> None:
        """Keep the first `tokens` of the last forward."""
        self.used += tokens

    def compact(self, kept: Ints) -> None:
        """Keep only the tokens `kept` [K], ascending numbers below `used`, which become 0 .. K-1."""
        for layer, pair in self._layers.items():
            index = torch.from_numpy(kept).to(pair[0].device)
            fresh = tuple(states.index_select(0, index) for states in pair)
            self._layers[layer] = (fresh[0], fresh[1])
        self.used = len(kept)

    def _grown(self, layer: int, which: int, like: Tensor, size: int) -> Tensor:
        """A buffer of at least `size` rows, with what is kept; twice the old one, so that growing costs little."""
        old = self._layers[layer][which] if layer in self._layers else None
        fresh = like.new_empty(max(size, 2 * (0 if old is None else old.shape[0])), *like.shape[1:])
        if old is not None:
            fresh[: self.used] = old[: self.used]
        return fresh
