"""Who may attend to whom in a packed batch, for every attention implementation that is used.

A batch is described in one of three ways, and no row ever sees another:

- plain: [B, T], one row per batch row, padded on the right. Causal attention needs no mask: padding stands behind.
- varlen: [1, N] with `cu_seqlens`; flash-attn where it is installed, else PyTorch's own varlen attention. CUDA only.
- spans: [B, T] with `ends` [B, T]; the token at i is seen by the queries q with i <= q < ends[i]. With the end of its
  row as its end this is a block-diagonal causal mask; with the end of its subtree, rows that share a prefix share its
  tokens (`erprm.prm.training.batches`). A dense mask on CPU, FlexAttention on CUDA.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv
from transformers.utils import is_flash_attn_2_available

from erprm.errors import InputError
from erprm.prm.attention.blocks import FLEX, block_mask

VARLEN = "erprm_varlen"
SLIDING = "sliding_attention"  # how transformers names layers with a window


def implementation(device: torch.device, layout: str, half_precision: bool, base: PreTrainedModel | None = None) -> str:
    """The attention implementation (a name that transformers knows) for a layout: "plain", "varlen" or "spans".

    `base` is asked whether it runs with PyTorch's own attention; GPT-OSS, whose attention has sinks, doesn't.
    """
    if device.type != "cuda" or layout == "plain":
        return "sdpa" if getattr(base, "_supports_sdpa", True) else "eager"
    if layout == "spans":
        return FLEX
    if not half_precision:
        raise InputError("layout: packed training on a GPU needs bf16 or fp16 (the varlen kernels take no float32); "
                         "expected bf16=True or layout='padded'")
    return "flash_attention_2" if is_flash_attn_2_available() else VARLEN


def arguments(config: PreTrainedConfig, dtype: torch.dtype, ends: Tensor | None, positions: Tensor | None,
              cu_seqlens: Tensor | None, max_length: int | None, blocks: Tensor | None = None) -> dict[str, Any]:
    """What a model is called with for a batch, besides ids and positions; its attention implementation by `config`.

    Args:
        positions: [B, T] int, of each token within its row; needed with `ends` where layers see a window only.
        blocks: the table of `erprm.prm.attention.blocks`, which FlexAttention needs with `ends`.
    """
    name = config._attn_implementation
    if ends is not None:
        if name not in (FLEX, "eager", "sdpa"):
            raise InputError(f"attn_implementation: expected sdpa, eager or {FLEX} for this layout, found {name}")
        if name == FLEX and blocks is None:
            raise InputError(f"mask_blocks: expected the table of blocks that {FLEX} reads, found none")
        window = sliding_window(config)
        if window is None or ends.shape[1] <= window:
            return {"attention_mask": _mask(name, dtype, blocks, ends, None, None)}
        windowed = _mask(name, dtype, blocks, ends, positions, window)
        kinds = set(getattr(config, "layer_types", None) or ())
        if kinds <= {SLIDING}:
            return {"attention_mask": windowed}
        return {"attention_mask": {SLIDING: windowed, "full_attention": _mask(name, dtype, blocks, ends, None, None)}}
    if cu_seqlens is None:
        return {"attention_mask": None}
    if name == VARLEN:
        return {"attention_mask": None, "cu_seqlens": cu_seqlens, "max_length": max_length}
    if name.startswith("flash_attention"):
        return {"attention_mask": None, "cu_seq_lens_q": cu_seqlens, "cu_seq_lens_k": cu_seqlens,
                "max_length_q": max_length, "max_length_k": max_length}
    raise InputError(f"attn_implementation: expected {VARLEN} or flash attention for packed rows, found {name}")


def _mask(name: str, dtype: torch.dtype, blocks: Tensor | None, ends: Tensor, positions: Tensor | None,
          window: int | None) -> Any:
    """The mask in the form that attention implementation `name` takes."""
    if blocks is not None and name == FLEX:
        return block_mask(blocks, ends, positions, window)
    mask = dense_mask(ends, positions, window)
    return mask if name == "sdpa" else torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(
        ~mask, torch.finfo(dtype).min)


def dense_mask(ends: Tensor, positions: Tensor | None = None, window: int | None = None) -> Tensor:
    """[B, 1, T, T] bool, True where query q may attend to key k: k <= q < ends[k], and within the window.

    Args:
        ends: [B, T] int; padding ends right behind itself.
        positions: [B, T] int, of each token within its row; window: most tokens that a query sees, itself included.
    """
    place = torch.arange(ends.shape[1], device=ends.device, dtype=ends.dtype)
    query, key = place[:, None], place[None, :]
    seen = (key <= query) & (query < ends[:, None, :])
    if positions is not None and window is not None:
        seen &= positions[:, :, None] - positions[:, None, :] < window
    return seen[:, None]


def sliding_window(config: PreTrainedConfig) -> int | None:
    """The attention window of the layers that have one, in tokens; None when every layer sees everything."""
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    if window is None or (types is not None and SLIDING not in types):
        return None
    return int(window)


def separate_rows_only(base: PreTrainedModel) -> str | None:
    """Why rows of this model can't stand one behind the other; None where attention masks keep them apart."""
    if getattr(base, "_is_stateful", False):
        return f"{type(base).__name__} carries a state from token to token"
    other = set(getattr(base.config, "layer_types", None) or ()) - {SLIDING, "full_attention"}
    return f"{type(base).__name__} has layers of {sorted(other)[0]}" if other else None


def varlen_forward(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, *,
                   cu_seqlens: Tensor, max_length: int, scaling: float | None = None,
                   sliding_window: int | None = None, **ignored: Any) -> tuple[Tensor, None]:
    """PyTorch's varlen attention in the form that transformers calls.

    Args:
        query: [1, H, N, d]; key, value: [1, H_kv, N, d]; the packed rows one behind the other.
        cu_seqlens: [S + 1] int32, where each row begins; max_length: the longest.

    Returns:
        [1, N, H, d] and None.
    """
    from torch.nn.attention.varlen import varlen_attn

    groups = query.shape[1] // key.shape[1]
    q, k, v = (states.to(value.dtype)[0].transpose(0, 1) for states in
               (query, repeat_kv(key, groups), repeat_kv(value, groups)))
    window = (-1, 0) if sliding_window is None else (sliding_window - 1, 0)
    output = varlen_attn(q, k, v, cu_seqlens, cu_seqlens, max_length, max_length, scale=scaling, window_size=window)
    assert isinstance(output, Tensor)
    return output.unsqueeze(0), None


AttentionInterface.register(VARLEN, varlen_forward)
