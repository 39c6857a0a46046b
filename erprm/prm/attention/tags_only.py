"""The last transformer block only at the step tags.

Nothing reads the last block's output elsewhere, so its query, output projection, MLP and the final norm are computed at
the U tag positions; keys and values at all N. The result at the tags is the stock layer's own: every operation that is
left out elsewhere works position by position. At one tag in fifteen tokens this saves about nine tenths of the block's
projections and MLP.

    if install(base):
        hidden = base(input_ids=ids, tag_positions=positions).last_hidden_state        # [1, U, D]
        hidden = base(input_ids=ids).last_hidden_state                                 # [B, T, D], as ever
"""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, apply_rotary_pos_emb, eager_attention_forward
from transformers.models.mistral.modeling_mistral import MistralDecoderLayer
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from erprm.prm.attention.paths import PathTensors, paths_forward

# Layers whose forward is norm, attention with rotary positions, residual, norm, MLP, residual. A subclass may differ.
LAYERS = (LlamaDecoderLayer, MistralDecoderLayer, Qwen2DecoderLayer)


def install(base: PreTrainedModel) -> bool:
    """Give the last layer of `base` the short path, taken when the model is called with `tag_positions`.

    Returns:
        False, with nothing changed, where the layer isn't one of `LAYERS`.
    """
    layers = getattr(base, "layers", None)
    if layers is None or type(layers[-1]) not in LAYERS:
        return False
    layers[-1].forward = functools.partial(_forward, layers[-1])
    return True


def _forward(layer: Any, hidden_states: Tensor, attention_mask: Any = None, position_ids: Tensor | None = None,
             past_key_values: Any = None, use_cache: bool | None = False,
             position_embeddings: tuple[Tensor, Tensor] | None = None, tag_positions: Tensor | None = None,
             paths: PathTensors | None = None, **kwargs: Any) -> Tensor:
    """The layer's forward; with `tag_positions` [U] (distinct, flat in [B T]) its output there, [1, U, D]."""
    if tag_positions is None:
        stock: Tensor = type(layer).forward(layer, hidden_states, attention_mask=attention_mask,
                                            position_ids=position_ids, past_key_values=past_key_values,
                                            use_cache=use_cache, position_embeddings=position_embeddings,
                                            **({} if paths is None else {"paths": paths}), **kwargs)
        return stock
    normed = layer.input_layernorm(hidden_states)
    attended = _attention(layer.self_attn, normed, attention_mask, position_embeddings, tag_positions, paths,
                          kwargs)
    hidden = hidden_states.flatten(0, 1).index_select(0, tag_positions).unsqueeze(0) + attended
    result: Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return result


def _attention(attention: Any, normed: Tensor, mask: Any, position_embeddings: tuple[Tensor, Tensor] | None,
               tag_positions: Tensor, paths: PathTensors | None, kwargs: dict[str, Any]) -> Tensor:
    """Self-attention of normed [B, T, D] at the tags, [1, U, D].

    The queries are projected at the tags and set into zeros, so that every attention implementation, whatever it knows
    of masks and packing, runs unchanged; its output elsewhere is not used.
    """
    assert position_embeddings is not None
    batch, length, width = normed.shape
    shape = (batch, length, -1, attention.head_dim)
    projected = attention.q_proj(normed.view(-1, width).index_select(0, tag_positions))
    if paths is not None:
        return _along_paths(attention, normed, projected, position_embeddings, tag_positions, paths)
    query = projected.new_zeros(batch * length, projected.shape[-1]).index_copy(0, tag_positions, projected)
    key, value = attention.k_proj(normed), attention.v_proj(normed)
    query, key, value = (states.view(shape).transpose(1, 2) for states in (query, key, value))
    query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
    config = attention.config
    run = ALL_ATTENTION_FUNCTIONS.get_interface(config._attn_implementation, eager_attention_forward)
    dropout = attention.attention_dropout if attention.training else 0.0
    output, _ = run(attention, query, key, value, mask, dropout=dropout, scaling=attention.scaling,
                    sliding_window=_window(attention), **kwargs)
    at_tags = output.reshape(batch * length, -1).index_select(0, tag_positions)
    result: Tensor = attention.o_proj(at_tags).unsqueeze(0)
    return result


def _along_paths(attention: Any, normed: Tensor, projected: Tensor, position_embeddings: tuple[Tensor, Tensor],
                 tag_positions: Tensor, paths: PathTensors) -> Tensor:
    """The same along paths, whose groups know which keys each tag sees: normed [1, N, D], projected [U, D_q]."""
    size = attention.head_dim
    query = projected.view(1, -1, projected.shape[-1] // size, size).transpose(1, 2)
    key, value = (project(normed).view(1, normed.shape[1], -1, size).transpose(1, 2)
                  for project in (attention.k_proj, attention.v_proj))
    cos, sin = position_embeddings
    query, _ = apply_rotary_pos_emb(query, query, cos[:, tag_positions], sin[:, tag_positions])
    key, _ = apply_rotary_pos_emb(key, key, cos, sin)
    output, _ = paths_forward(attention, query, key, value, None, paths=paths.at_tags, scaling=attention.scaling,
                              sliding_window=_window(attention))
    result: Tensor = attention.o_proj(output.reshape(1, -1, projected.shape[-1]))
    return result


def _window(attention: Any) -> int | None:
    """What the stock layers hand to their attention as its window."""
    window: int | None = getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None))
    return window
