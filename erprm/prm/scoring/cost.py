"""What a forward costs, so that `erprm.prm.scoring.batches` can choose between plans before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Cost:
    """What a forward costs, in FLOPs of a matrix product that would take as long.

    Attributes:
        token: per token; pair: per query and key that attention computes.
        key: per key that is gathered for a path; call: per attention call on top of its pairs.
    """

    token: float
    pair: float
    key: float = 0.0
    call: float = 0.0


@dataclass(frozen=True, slots=True)
class _Relative:
    """What attention costs, in FLOPs of a large matrix product: per FLOP of a pair, per number of a gathered key (with
    its value), per call in one layer."""

    pair: float
    key: float
    call: float


# CPU: bench/attention_costs.py, a call with its gathers. CUDA: of an H200's rates (790 TFLOP/s, 4.3 TB/s), unmeasured.
_RELATIVE = {"cpu": _Relative(2.5, 25.0, 4e6), "cuda": _Relative(2.0, 1500.0, 4e10)}


def forward_cost(base: PreTrainedModel, device: str) -> Cost:
    """What the transformer costs per token, attended pair, gathered key and attention call."""
    config, relative = base.config, _RELATIVE.get(device, _RELATIVE["cuda"])
    embedding = base.get_input_embeddings().weight.numel()
    parameters = sum(weight.numel() for weight in base.parameters()) - embedding
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads, layers = config.num_attention_heads, config.num_hidden_layers
    keys = size * (getattr(config, "num_key_value_heads", None) or heads)
    return Cost(2.0 * parameters, 4.0 * relative.pair * heads * size * layers, relative.key * keys * layers,
                relative.call * layers)
