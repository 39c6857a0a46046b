"""Attention along paths: rows that share prefixes, their common tokens computed once, no padding in any projection.

The N distinct tokens of a batch stand one behind the other, [1, N]. Each row is a path through them: where it begins
like the row before it, it takes that row's tokens, and the rest are its own. A token's query belongs to the row that
brought it and reads the keys of that row's path up to itself. Rows with similar numbers of own tokens are gathered
into one rectangular call of PyTorch's attention:

    queries [R, S], keys [R, T], seen [R, S]      # query s of row r attends to the first seen[r, s] of keys[r]

Everything else of a transformer works token by token, so each row gets the hidden states of its own forward. Layers
with a sliding window see the last keys of a path alone, as they would in a row.

    base.set_attn_implementation(PATHS)
    base(input_ids=ids, position_ids=positions, attention_mask=None, paths=along.to(device, dtype))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from erprm.prm.attention.kv_cache import KeyValueCache

Ints = npt.NDArray[np.int64]
PATHS = "erprm_paths"

# Families in whose layers tokens see each other through the attention interface alone, which gets the model's own
# arguments (not StableLM, Nemotron) and no others than a mask, a scale and a window (not Gemma 2, which caps, or
# GPT-OSS, which has sinks). The tests compare each with the stock model.
FAMILIES = ("arcee", "cohere", "cohere2", "ernie4_5", "exaone4", "gemma", "gemma3_text", "glm", "glm4", "glm4_moe",
            "granite", "granitemoe", "helium", "hunyuan_v1_dense", "llama", "mistral", "mixtral", "olmo", "olmo2",
            "olmo3", "olmoe", "persimmon", "phi", "phi3", "phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe",
            "seed_oss", "smollm3", "starcoder2")
_ROTATIONS_BY_LENGTH = {"dynamic", "longrope"}


def whole_rows_only(base: PreTrainedModel) -> str | None:
    """Why rows of a model cannot follow paths; None where they can."""
    config, name = base.config, type(base).__name__
    if config.model_type not in FAMILIES or not type(base).__module__.startswith("transformers.models."):
        return f"{name} is not among the models whose rows are known to share tokens"
    rotations = getattr(config, "rope_parameters", None) or {}
    kinds = {given.get("rope_type") for given in (rotations, *rotations.values()) if isinstance(given, dict)}
    if by_length := kinds & _ROTATIONS_BY_LENGTH:
        return f"{name} rotates positions by the longest row of a batch (rope_type {by_length.pop()})"
    if getattr(config, "use_bidirectional_attention", False):
        return f"{name} attends in both directions"
    return None


def to_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """The array on a device; to a GPU from pinned memory, since a copy from pageable memory waits."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@dataclass(frozen=True, slots=True)
class PathGroup:
    """Rows of one attention call; -1 in `queries` is padding, and `keys` are padded with 0 behind what is seen.

    Attributes:
        queries: [R, S] int64, which query.
        keys: [R, T] int64, the tokens of each path.
        seen: [R, S] int64, how many keys each query attends to, at least 1.
    """

    queries: Ints
    keys: Ints
    seen: Ints

    @classmethod
    def of(cls, queries: Sequence[Ints], paths: Sequence[Ints], seen: Sequence[Ints]) -> PathGroup:
        """Pad rows to a rectangle."""
        width, length = max(map(len, queries)), max(map(len, paths))
        group = cls(np.full((len(queries), width), -1, np.int64), np.zeros((len(queries), length), np.int64),
                    np.full((len(queries), width), length, np.int64))
        for row, (asked, path, sees) in enumerate(zip(queries, paths, seen, strict=True)):
            group.queries[row, : len(asked)], group.seen[row, : len(asked)] = asked, sees
            group.keys[row, : len(path)] = path
        return group


@dataclass(frozen=True, slots=True)
class PathTensors:
    """Groups on the device, and where each query's output stands.

    A group is (queries [R S], keys [R T], mask [R, 1, S, T], the mask of layers with a sliding window). `at_tags` is
    the same for the last block, whose queries are the tags alone. With a `cache` the keys are numbered through its kept
    tokens first.
    """

    groups: list[tuple[Tensor, Tensor, Tensor, Tensor]]
    places: Tensor
    at_tags: PathTensors | None = None
    cache: KeyValueCache | None = None

    @classmethod
    def of(cls, groups: Sequence[PathGroup], device: torch.device, dtype: torch.dtype,
           cache: KeyValueCache | None = None, window: int | None = None) -> PathTensors:
        """Move the indices over and make the masks; each query must be in exactly one group.

        Args:
            window: most keys that a query of a layer with a sliding window sees, itself included.
        """
        flat = np.concatenate([group.queries.ravel() for group in groups])
        places = np.empty(int(flat.max()) + 1, np.int64)
        places[flat[flat >= 0]] = np.flatnonzero(flat >= 0)
        tensors = []
        for group in groups:
            rows, width = group.queries.shape
            keys = group.keys
            if keys.shape[1] % 8 and device.type == "cuda":  # masked attention on a GPU wants aligned masks
                keys = np.pad(keys, ((0, 0), (0, -keys.shape[1] % 8)))
            seen = to_device(group.seen, device)
            place, seen = torch.arange(keys.shape[1], device=device), seen[:, None, :, None]
            mask = torch.zeros(rows, 1, width, keys.shape[1], dtype=dtype, device=device)
            mask = windowed = mask.masked_fill_(place >= seen, -torch.inf)
            if window is not None and keys.shape[1] > window:
                windowed = mask.masked_fill(place < seen - window, -torch.inf)
            tensors.append((to_device(group.queries.clip(0).ravel(), device),
                            to_device(keys.ravel(), device), mask, windowed))
        return cls(tensors, to_device(places, device), cache=cache)


def paths_forward(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *,
                  paths: PathTensors | None = None, scaling: float | None = None, sliding_window: int | None = None,
                  **options: Any) -> tuple[Tensor, None]:
    """Attention along paths in the form that transformers calls; without `paths` it is transformers' own.

    Args:
        query: [1, H, M, d], M queries as the groups number them; key, value: [1, H_kv, N, d], the tokens of this
            forward.

    Returns:
        [1, M, H, d] and None.
    """
    if paths is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling,
                                                            **options)
        return plain
    _, heads, _, size = query.shape
    shared = key.shape[1]
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    if paths.cache is not None:
        k, v = paths.cache.extend(module.layer_idx, k, v)
    parts = []
    for queries, keys, full, windowed in paths.groups:
        mask = full if sliding_window is None else windowed
        rows, _, width, length = mask.shape
        # Heads that share a key head stand one behind the other in the queries, so that no key is repeated.
        asked = q.index_select(0, queries).view(rows, width, shared, heads // shared, size).permute(0, 2, 3, 1, 4)
        keys_of, values_of = (states.index_select(0, keys).view(rows, length, shared, size).transpose(1, 2)
                              for states in (k, v))
        found = torch.nn.functional.scaled_dot_product_attention(
            asked.reshape(rows, shared, -1, size), keys_of, values_of, scale=scaling,
            attn_mask=mask if heads == shared else mask.repeat(1, 1, heads // shared, 1))
        parts.append(found.view(rows, shared, heads // shared, width, size).permute(0, 3, 1, 2, 4)
                     .reshape(rows * width, heads, size))
    together = parts[0] if len(parts) == 1 else torch.cat(parts)
    return together.index_select(0, paths.places).unsqueeze(0), None


AttentionInterface.register(PATHS, paths_forward)
AttentionMaskInterface.register(PATHS, sdpa_mask)  # without it transformers makes no mask, and windows are forgotten
