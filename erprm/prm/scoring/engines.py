"""What runs a PRM that scores: one registry, which the command line and `load_scorer` read. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from erprm.errors import InputError
from erprm.options import Count, check_arguments

TOO_LONG = ("error", "cut")
RAY_OPTIONS = ("actors", "batch_rows", "address", "cpus", "gpus", "retries")  # where rows are scored, not how

_SET = ("model", "runner", "convert", "hf_overrides", "pooler_config")  # of vLLM: what a PRM needs


@dataclass(frozen=True)
class ScoringEngine:
    """One way to run the model.

    Attributes:
        inner: what computes, "transformers" or "vllm".
        ray: whether it does so in the actors of Ray.
        help: one line.
    """

    inner: str
    ray: bool
    help: str


ENGINES: dict[str, ScoringEngine] = {
    "transformers": ScoringEngine("transformers", False, "in this process, every form, shared prefixes once"),
    "vllm": ScoringEngine("vllm", False, "causal language models read at a tag, tensor parallel"),
    "ray:transformers": ScoringEngine("transformers", True, "several of the first, on GPUs or machines"),
    "ray:vllm": ScoringEngine("vllm", True, "several of vllm"),
}


def check_options(engine: str, *, device: str | None, batch_tokens: int | None, share: bool | None, too_long: str,
                  vllm_options: Mapping[str, Any] | None) -> None:
    """Raise InputError for what doesn't go with an engine that holds the model itself."""
    known = [name for name, item in ENGINES.items() if not item.ray]
    if engine not in known:
        raise InputError(f"engine: expected one of {', '.join(known)}, found {engine!r}")
    if too_long not in TOO_LONG:
        raise InputError(f"too_long: expected one of {', '.join(TOO_LONG)}, found {too_long!r}")
    if engine == "vllm":
        for name, given in (("device", device), ("batch_tokens", batch_tokens), ("share", share)):
            if given is not None:
                raise InputError(f"{name}: vLLM decides that itself, expected none, found {given!r}; its own "
                                 "options (max_num_batched_tokens, ...) are vllm_options, or --engine-options")
        if vllm_options:
            from erprm.engines.vllm_process import llm_options

            free = {name: kind for name, kind in llm_options().items() if name not in _SET} | {"threads": Count}
            for name in vllm_options.keys() - free.keys():
                raise InputError(f"engine_options: vLLM has no option {name!r} that could be set here")
            check_arguments(free, vllm_options)
    elif vllm_options:
        raise InputError(f"vllm_options: expected none with the engine {engine}, found {', '.join(vllm_options)}")
    if batch_tokens is not None and batch_tokens < 1:
        raise InputError(f"batch_tokens: expected a positive number, found {batch_tokens}")
