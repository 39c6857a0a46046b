"""What a model's configuration does to its logits behind h . w: Granite, Cohere and others scale, Gemma-2 caps.

    rule = logit_rule(config)
    rule.apply(hidden @ rows.T)                       # the stock model's own logits
    uncapped(rule)                                    # InputError that names the setting, where logits are capped
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from erprm.errors import InputError

CAP = "final_logit_softcapping"
_SCALES = ("logit_scale", "lm_head_multiplier")  # factors; "logits_scaling" divides, but for HyperCLOVA X


@dataclass(frozen=True, slots=True)
class LogitRule:
    """logit = cap tanh(scale z / cap), or scale z without a cap, for z = h . w + b."""

    scale: float = 1.0
    cap: float | None = None

    def apply(self, logits: Tensor) -> Tensor:
        """The stock logits of z, of any shape."""
        scaled = logits * self.scale
        return scaled if self.cap is None else self.cap * torch.tanh(scaled / self.cap)


def logit_rule(config: PreTrainedConfig) -> LogitRule:
    """The rule of a causal language model's configuration."""
    scale = 1.0
    for name in _SCALES:
        scale *= float(getattr(config, name, None) or 1.0)
    divisor = float(getattr(config, "logits_scaling", None) or 1.0)
    scale *= divisor if str(config.model_type).startswith("hyperclovax") else 1.0 / divisor
    cap = getattr(config, CAP, None)
    return LogitRule(scale, None if cap is None else float(cap))


def uncapped(config: PreTrainedConfig, what: str) -> LogitRule:
    """The rule of a model whose logits are linear. Raises InputError that names the setting where they are capped."""
    rule = logit_rule(config)
    if rule.cap is not None:
        raise InputError(f"{CAP}: expected none for {what}, found {rule.cap}; the two-row losses (pair, head, "
                         "beta_binomial) train such a model")
    return rule


def make_linear(config: PreTrainedConfig) -> PreTrainedConfig:
    """Set, in place, what makes the model's logits h . w + b."""
    for name in (*_SCALES, "logits_scaling"):
        if getattr(config, name, None) is not None:
            setattr(config, name, 1.0)
    if getattr(config, CAP, None) is not None:
        setattr(config, CAP, None)
    return config
