"""A causal language model from a folder or the hub, or one line that says why there is none.

    model = load_causal("runs/policy", dtype=torch.float32)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForCausalLM, PreTrainedModel

from erprm.errors import InputError

# What transformers, PEFT and torch raise for a configuration or file that they can't read.
REFUSALS = (OSError, ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError, ZeroDivisionError,
            ImportError, AssertionError, StrictDataclassError)


def load_causal(model: str | Path, **options: Any) -> PreTrainedModel:
    """`AutoModelForCausalLM.from_pretrained`.

    Raises:
        InputError: for what transformers refuses, in its own first line.
    """
    try:
        causal: PreTrainedModel = AutoModelForCausalLM.from_pretrained(str(model), **options)
    except REFUSALS as error:
        raise refusal(model, error) from error
    return causal


def refusal(path: str | Path, error: Exception) -> InputError:
    """One line for what transformers says of a file in many, or in its own words."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    kind = f"{type(error).__name__}: " if isinstance(error, (KeyError, TypeError, json.JSONDecodeError)) else ""
    return InputError(f"{path}: expected a model that transformers reads, found one that it refuses: "
                      f"{(kind + reason)[:200]}")
