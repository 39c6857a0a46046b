"""Who writes text: one protocol (`base.Engine`), three implementations, loaded by name.

    engine = load_engine("transformers", "path/to/policy")
    engine.sample([Request(question="2+3?", prefix="", n=4, seed=7)], Sampling(max_tokens=64))
    engine.close()

"transformers" is the embedded default and needs nothing else; "vllm" samples at scale; "ray:transformers" and
"ray:vllm" spread either over the actors of a Ray cluster.
"""

from __future__ import annotations

from typing import Any

from erprm.engines.base import Completion, Engine, Request, Sampling, prefix_seed
from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError

__all__ = ["ENGINES", "Completion", "Engine", "PromptTemplate", "Request", "Sampling", "load_engine", "prefix_seed"]

ENGINES = ("transformers", "vllm", "ray:transformers", "ray:vllm")


def load_engine(name: str, model: str, **options: Any) -> Engine:
    """The engine `name`, holding the policy `model` (a folder or a hub name).

    Args:
        options: the engine's own keyword arguments (`TransformersEngine`, `VllmEngine`, `RayEngine`); all take
            `template`, a `PromptTemplate`.

    Raises:
        InputError: for an unknown engine or an option that it does not have.
        MissingExtraError: when the engine's package is not installed.
    """
    if name not in ENGINES:
        raise InputError(f"engine: expected one of {', '.join(ENGINES)}, found {name!r}")
    if name.startswith("ray:"):
        from erprm.engines.ray import RayEngine

        return RayEngine(name.removeprefix("ray:"), model, **options)
    if name == "vllm":
        from erprm.engines.vllm import VllmEngine

        return VllmEngine(model, **options)
    from erprm.engines.transformers import TransformersEngine

    return TransformersEngine(model, **options)
