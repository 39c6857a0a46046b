"""vLLM inside this process: loaded with settings that work on the machine at hand, and released in the right order.

    llm = load_llm(model="path/to/policy", dtype="float32")
    llm.generate(...)
    release_llm(llm)

Two facts about vLLM are hidden here. A CPU build needs an environment that is set before it is imported and other
defaults than a GPU. And the `LLM` objects of a process share its distributed state, which the first one to be collected
tears down for all: they are kept until the last one is released.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import inspect
import logging
import os
import random
import sys
import typing
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import torch
from transformers import AutoConfig, PreTrainedConfig

from erprm.errors import InputError, import_extra, shown

_log = logging.getLogger(__name__)

# Set before vLLM is imported, where the user has not set them.
_CPU_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process: a tenth of the start-up time
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",  # about forty lines of advice on every start otherwise
}
CPU_CACHE, CPU_BLOCK = 1 << 30, 32  # bytes of keys and values, tokens of a block
_CPU_DEFAULTS: dict[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "block_size": CPU_BLOCK,  # a multiple of 32 is asked for; the default of 128 loses most of the prefix reuse
    "enable_chunked_prefill": False,  # a seeded request whose prompt is read in chunks stops the CPU engine
    "kv_cache_memory_bytes": CPU_CACHE,  # the default takes 16 GiB or more
    "use_tqdm_on_load": False,
}


class _Process:
    """What the LLMs of this process share: how many are in use, and those that wait to be collected."""

    def __init__(self) -> None:
        self.in_use: list[Any] = []
        self.retired: list[Any] = []
        self.threads = 0  # OpenMP threads before the first LLM was loaded


_PROCESS = _Process()


def on_cpu() -> bool:
    """Whether vLLM will run on the CPU here."""
    return not torch.accelerator.is_available()


def import_vllm() -> ModuleType:
    """The module, imported behind the environment that its CPU build needs.

    Raises:
        MissingExtraError: when vLLM is not installed.
    """
    missing = {name: value for name, value in _CPU_ENVIRONMENT.items() if name not in os.environ}
    if missing and on_cpu():
        os.environ.update(missing)
        _log.info("vllm on the CPU: %s", " ".join(f"{name}={value}" for name, value in missing.items()))
    return import_extra("vllm", "vllm")


def cpu_environment(threads: int) -> dict[str, str]:
    """The environment that a process with a CPU engine should start with; what the user has set stays."""
    wanted = _CPU_ENVIRONMENT | {"OMP_NUM_THREADS": str(threads)}
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def checkpoint_dtype(model: str, revision: str | None = None) -> str:
    """"float32", "bfloat16" or "float16": what the weights on disk are in, "auto" where the configuration is silent.

    vLLM's own "auto" halves float32 weights.

    Raises:
        InputError: for a folder or hub name without a readable configuration.
    """
    try:
        config = AutoConfig.from_pretrained(model, revision=revision)
    except (OSError, ValueError) as error:
        raise InputError(f"model {model}: expected a folder or hub name of a causal language model; "
                         f"{str(error).splitlines()[0]}") from error
    return "auto" if config.dtype is None else str(config.dtype).removeprefix("torch.")


def longest_on_cpu(config: PreTrainedConfig, dtype: str = "auto", cache: int = CPU_CACHE, block: int = CPU_BLOCK,
                   ) -> int:
    """The model's positions, or as many as a CPU's cache holds.

    Args:
        dtype: of keys and values; "auto" is the configuration's.
        cache, block: bytes of the cache, tokens of a block.
    """
    config = config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kind = config.dtype if dtype == "auto" else getattr(torch, dtype)
    token = 2 * config.num_hidden_layers * heads * size * (4 if kind is None else kind.itemsize)
    fits = max((cache // token // block - 1) * block, block)  # vLLM keeps a block for itself
    return int(min(getattr(config, "max_position_embeddings", None) or fits, fits))


def _with_cpu_length(options: dict[str, Any]) -> dict[str, Any]:
    """`options` with as many positions as the cache holds, where not all do and none are asked for."""
    if options.get("max_model_len") is not None:
        return options
    config = AutoConfig.from_pretrained(options["model"], revision=options.get("revision"))
    cache = int(options["kv_cache_memory_bytes"])
    longest = longest_on_cpu(config, str(options["dtype"]), cache, int(options["block_size"]))
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is None or longest >= positions:
        return options
    print(f"vllm: the cache of {cache / 2**30:.3g} GiB on this CPU holds {longest:,} of the model's {positions:,} "
          "positions: max_model_len is set to that; kv_cache_memory_bytes raises it", file=sys.stderr)
    return options | {"max_model_len": longest}


def llm_options() -> dict[str, Any]:
    """By name, what `vllm.LLM` takes, as annotations with vLLM's own rules. Raises MissingExtraError."""
    vllm = import_vllm()
    from vllm.engine.arg_utils import EngineArgs

    names = {*inspect.signature(vllm.LLM).parameters, *(item.name for item in dataclasses.fields(EngineArgs))}
    return {name: Annotated[Any, partial(_check_llm_option, name)] for name in names - {"kwargs"}}


def _check_llm_option(name: str, value: Any) -> None:
    """Raise InputError for a value that vLLM's annotations of its arguments and configurations refuse."""
    import pydantic
    from vllm import config
    from vllm.engine.arg_utils import EngineArgs

    kind: Any = {field.name: field.type for field in dataclasses.fields(EngineArgs)}.get(name, Any)
    if value is None or isinstance(kind, str) or any(map(dataclasses.is_dataclass, (kind, *typing.get_args(kind)))):
        return  # one that vLLM makes of several things, or has no name for here
    held = (config.ModelConfig, config.CacheConfig, config.ParallelConfig, config.SchedulerConfig, config.LoadConfig)
    limits = [limit for each in held if (field := each.__pydantic_fields__.get(name)) for limit in field.metadata]
    try:
        adapter = pydantic.TypeAdapter(Annotated[(kind, *limits)] if limits else kind)
    except (pydantic.errors.PydanticUserError, pydantic.errors.PydanticUndefinedAnnotation):
        return  # a type that pydantic doesn't know: vLLM itself says what is wrong
    try:
        adapter.validate_python(value)
    except pydantic.ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Input should be ")
        raise InputError(f"{name}: expected {said}, found {shown(value)}") from error


def load_llm(threads: int = 1, **options: Any) -> Any:
    """`vllm.LLM(**options)`; on a CPU with defaults that work there, each of which `options` overrides.

    Args:
        threads: OpenMP threads on a CPU; one is best for small models, and threads that wait for each other spin.

    Raises:
        InputError: for a model or an option that vLLM refuses, with its own first line.
        MissingExtraError: when vLLM is not installed.
    """
    if options.get("data_parallel_size", 1) > 1 and options.get("distributed_executor_backend") != "external_launcher":
        raise InputError(f"data_parallel_size: one process holds one copy of the model, found "
                         f"{options['data_parallel_size']}; use the engine ray:vllm with that many actors, or torchrun "
                         f"with distributed_executor_backend=external_launcher")
    vllm, cpu = import_vllm(), on_cpu()
    if cpu:
        options = _CPU_DEFAULTS | options
    if not _PROCESS.in_use:
        _PROCESS.threads = torch.get_num_threads()
    set_num_threads = torch.set_num_threads
    if cpu:
        set_num_threads(threads)
    try:
        with _random_state_kept():
            llm = vllm.LLM(**(_with_cpu_length(options) if cpu else options))
    except (ValueError, TypeError, OSError) as error:
        raise InputError(f"vllm: model {options.get('model')!r} with these options: "
                         f"{' '.join(str(error).split())[:400]}") from error
    finally:
        torch.set_num_threads = set_num_threads  # the CPU build replaces it by a function that does nothing
    _PROCESS.in_use.append(llm)
    return llm


def release_llm(llm: Any) -> None:
    """Give back what `llm` holds, as soon as no other LLM of this process is in use. A second call does nothing."""
    if not any(llm is other for other in _PROCESS.in_use):
        return
    _PROCESS.in_use[:] = [other for other in _PROCESS.in_use if other is not llm]
    _PROCESS.retired.append(llm)
    if _PROCESS.in_use:
        return
    del llm
    _PROCESS.retired.clear()
    gc.collect()
    if on_cpu():
        torch.set_num_threads(_PROCESS.threads)


@contextlib.contextmanager
def _random_state_kept() -> Iterator[None]:
    """vLLM in this process seeds every generator of the process: put them back."""
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(python)
    np.random.set_state(legacy)
