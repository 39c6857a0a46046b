"""Is this folder a model that can be read? Said in one line before anything large is allocated.

    config = check_folder("runs/prm")                 # InputError: "runs/prm/config.json: expected ..., found ..."

A configuration without its sizes stands for a default model of billions of parameters, which transformers would build
and fill with random numbers; so sizes are compared with the weights' headers first.
"""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, GenerationConfig, PreTrainedConfig, PreTrainedModel, Qwen2Config
from transformers.conversion_mapping import get_checkpoint_conversion_mapping
from transformers.quantizers import AutoHfQuantizer

from erprm.errors import InputError
from erprm.loading import REFUSALS, refusal
from erprm.prm.checkpoints.weights import WeightFiles, head_rows
from erprm.prm.spec import FILE_NAME, PRMSpec

_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_SMALL = ("eps", "epsilon", "dropout", "pdrop")
_LARGEST_SIZE = 1 << 24
_OWN_CODE = ("Qwen2ForProcessRewardModel", "Qwen2ForPrmModel")  # Qwen2 with a head of their own


def check_folder(folder: str | Path) -> PreTrainedConfig:
    """The configuration of the model in `folder`, when it and the weights are whole and belong together.

    Raises:
        InputError: naming the file, what was expected and what was found.
    """
    folder = Path(folder)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.exists() and not path.is_file() and not path.is_dir():
            raise InputError(f"{path}: expected a file, found a pipe, socket or device")
    settings = read_settings(folder)
    _check_beside(folder, settings)
    config = read_config(folder, settings)
    weights = WeightFiles(folder)
    weights.check()
    if (folder / FILE_NAME).is_file() and not (spec := PRMSpec.load(folder)).objective.vocabulary:
        head_rows(weights, config.get_text_config().hidden_size, len(spec.labels))
    base = _shell(folder, config)
    described, found = sum(weight.numel() for weight in base.parameters()), weights.elements()
    if "quantization_config" in settings:
        return config
    if described > 1.5 * found + 1e6:
        raise InputError(f"{folder}: config.json describes a model of {described:,} parameters, but the weights hold "
                         f"{found:,}: they don't belong together, or the configuration lost its sizes")
    _compare(folder, base, weights)
    return config


def _check_beside(folder: Path, settings: dict[str, Any]) -> None:
    """What transformers reads beside config.json and weights, asked whether it can. Raises InputError."""
    try:
        if (path := folder / "generation_config.json").is_file():
            GenerationConfig.from_pretrained(str(folder))
        if (path := folder / "adapter_config.json").is_file() and importlib.util.find_spec("peft"):
            from peft import PeftConfig

            base = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
            if base and base[0] in "./~" and not Path(base).is_dir():
                raise InputError(f"{path}: base_model_name_or_path: expected a folder with a model, found {base!r}")
        if quantisation := settings.get("quantization_config"):
            path = folder / "config.json"
            AutoHfQuantizer.from_config(quantisation, pre_quantized=True)
    except InputError:
        raise
    except REFUSALS as error:
        raise refusal(path, error) from error


def read_settings(folder: Path) -> dict[str, Any]:
    """The model's config.json. Raises InputError."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a folder with a model")
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, found {str(error).splitlines()[0]}") from error
    names = settings.get("architectures") if isinstance(settings, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: expected an object with 'architectures', a list of names, found "
                         f"{str(names if isinstance(settings, dict) else settings)[:60]}")
    for name, value in settings.items():
        if isinstance(value, float) and not (math.isfinite(value) and 0 <= value <= 1) and name.endswith(_SMALL):
            raise InputError(f"{path}: {name}: expected a number from 0 to 1, found {value}")
    for name in _SIZES:
        size = settings.get(name, 1)
        if isinstance(size, bool) or not isinstance(size, (int, list)) or (
                isinstance(size, int) and not 0 < size <= _LARGEST_SIZE):
            raise InputError(f"{path}: {name}: expected a number from 1 to {_LARGEST_SIZE:,}, found {str(size)[:60]}")
    return settings


def read_config(folder: Path, settings: dict[str, Any]) -> PreTrainedConfig:
    """The transformer's own configuration; the code that a published model brings with it isn't run."""
    try:
        if settings["architectures"][0] in _OWN_CODE:
            return Qwen2Config.from_dict({key: value for key, value in settings.items() if key != "auto_map"})
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except REFUSALS as error:
        raise refusal(folder / "config.json", error) from error


def _shell(folder: Path, config: PreTrainedConfig) -> PreTrainedModel:
    """The transformer that the configuration describes, without memory."""
    with torch.device("meta"):
        try:
            base: PreTrainedModel = AutoModel.from_config(config)
        except REFUSALS as error:
            raise refusal(folder / "config.json", error) from error
    return base


def _compare(folder: Path, base: PreTrainedModel, weights: WeightFiles) -> None:
    """Every weight that stands on disk under its own name has the described shape, and none is missing."""
    converted = get_checkpoint_conversion_mapping(base.config.model_type) is not None
    for name, expected in base.named_parameters():
        full = f"{base.base_model_prefix}.{name}" if f"{base.base_model_prefix}.{name}" in weights else name
        if full not in weights:
            if converted:  # families whose names on disk are others, mixtures of experts among them
                continue
            raise InputError(f"{folder}: the weights lack {base.base_model_prefix}.{name}, which config.json describes")
        if weights.shape(full) != tuple(expected.shape):
            raise InputError(f"{folder}: {full}: config.json describes {list(expected.shape)}, the weights hold "
                             f"{list(weights.shape(full))}")
