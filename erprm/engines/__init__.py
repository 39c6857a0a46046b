"""Who writes text: one protocol (`base.Engine`), three implementations, loaded by name.

    engine = load_engine("transformers", "path/to/policy")
    engine.sample([Request(question="2+3?", prefix="", n=4, seed=7)], Sampling(max_tokens=64))
    engine.close()

`ENGINES` names them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from erprm.engines.base import Completion, Engine, Request, Sampling, prefix_seed
from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError
from erprm.options import check_arguments, keywords

__all__ = ["ENGINES", "Completion", "Engine", "PromptTemplate", "Request", "Sampling", "check_options", "load_engine",
           "prefix_seed"]


_OF_EVERY_ENGINE = ("model", "template", "dtype")  # which commands have options of their own for


@dataclass(frozen=True, slots=True)
class EngineKind:
    """A way to have text written.

    Attributes:
        help: one line.
        load: (model, options) -> the engine.
        options: its own options, by name the annotations of their values.
        needs: the extra without which it is not there.
    """

    help: str
    load: Callable[..., Engine]
    options: Callable[[], dict[str, Any]]
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


def _own(engine: type) -> dict[str, Any]:
    return {name: kind for name, kind in keywords(engine.__init__).items()  # type: ignore[misc]
            if name not in _OF_EVERY_ENGINE}


def _transformers_options() -> dict[str, Any]:
    from erprm.engines.transformers import TransformersEngine

    return _own(TransformersEngine)


def _vllm_options() -> dict[str, Any]:
    from erprm.engines.vllm import VllmEngine
    from erprm.engines.vllm_process import llm_options

    return {name: kind for name, kind in llm_options().items() if name not in _OF_EVERY_ENGINE} | _own(VllmEngine)


def _ray_options(inner: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    from erprm.engines.ray import RayEngine

    return inner() | _own(RayEngine)


ENGINES: dict[str, EngineKind] = {
    "transformers": EngineKind("in this process, with nothing else", _transformers, _transformers_options),
    "vllm": EngineKind("vLLM, for models of real size", _vllm, _vllm_options, "vllm"),
    "ray:transformers": EngineKind("several of the first over Ray", partial(_ray, "transformers"),
                                   partial(_ray_options, _transformers_options), "ray"),
    "ray:vllm": EngineKind("several vLLMs over Ray", partial(_ray, "vllm"), partial(_ray_options, _vllm_options),
                           "ray"),
}


def check_options(engine: str, options: Mapping[str, Any]) -> None:
    """Raise InputError for a name that is no option of `engine`, with the nearest that is, or a value that such an
    option doesn't take; looks at no model."""
    known = ENGINES[engine].options() if options else {}
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1) or (sorted(known) if len(known) < 20 else [])
            raise InputError(f"engine_options: the engine {engine} has no option {name!r}"
                             + (f"; it has {', '.join(near)}" if near else ""))
    try:
        check_arguments(known, options)
    except InputError as error:
        raise InputError(f"engine_options: {error}") from error


def load_engine(name: str, model: str, **options: Any) -> Engine:
    """The engine `name`, holding the policy `model` (a folder or a hub name).

    Args:
        options: the engine's own keyword arguments (`TransformersEngine`, `VllmEngine`, `RayEngine`); all take
            `template`, a `PromptTemplate`.

    Raises:
        InputError: for an unknown engine, or an option that it does not have or not with this value.
        MissingExtraError: when the engine's package is not installed.
    """
    if name not in ENGINES:
        raise InputError(f"engine: expected one of {', '.join(ENGINES)}, found {name!r}")
    check_options(name, {option: value for option, value in options.items() if option not in _OF_EVERY_ENGINE})
    return ENGINES[name].load(model, **options)
