"""Who writes text: one protocol (`base.Engine`), three implementations, loaded by name.

    engine = load_engine("transformers", "path/to/policy")
    engine.sample([Request(question="2+3?", prefix="", n=4, seed=7)], Sampling(max_tokens=64))
    engine.close()

`ENGINES` names them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from erprm.engines.base import Completion, Engine, Request, Sampling, prefix_seed
from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError

__all__ = ["ENGINES", "Completion", "Engine", "PromptTemplate", "Request", "Sampling", "load_engine", "prefix_seed"]


@dataclass(frozen=True, slots=True)
class EngineKind:
    """A way to have text written.

    Attributes:
        help: one line.
        load: (model, options) -> the engine.
        needs: the extra without which it is not there.
    """

    help: str
    load: Callable[..., Engine]
    needs: str | None = None


def _transformers(model: str, **options: Any) -> Engine:
    from erprm.engines.transformers import TransformersEngine

    return TransformersEngine(model, **options)


def _vllm(model: str, **options: Any) -> Engine:
    from erprm.engines.vllm import VllmEngine

    return VllmEngine(model, **options)


def _ray(inner: str, model: str, **options: Any) -> Engine:
    from erprm.engines.ray import RayEngine

    return RayEngine(inner, model, **options)


ENGINES: dict[str, EngineKind] = {
    "transformers": EngineKind("in this process, with nothing else", _transformers),
    "vllm": EngineKind("vLLM, for models of real size", _vllm, "vllm"),
    "ray:transformers": EngineKind("several of the first over Ray", partial(_ray, "transformers"), "ray"),
    "ray:vllm": EngineKind("several vLLMs over Ray", partial(_ray, "vllm"), "ray"),
}


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
    return ENGINES[name].load(model, **options)
