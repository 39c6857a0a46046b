"""Options that the commands which sample from a policy share, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erprm.cli.config import option
from erprm.cli.prompt_options import PromptConfig, template_of
from erprm.engines import ENGINES, Engine, PromptTemplate, Sampling, check_options, load_engine
from erprm.errors import InputError
from erprm.options import LARGEST_SEED
from erprm.steps import SPLITTERS


@dataclass(frozen=True)
class SamplerConfig:
    """Who writes text, and how it samples."""

    engine: str = option("transformers", help="who writes text", choices=ENGINES)
    engine_options: tuple[str, ...] = option((), help="more options of the engine as name=value, for instance "
                                                      "batch_rows=512 or tensor_parallel_size=4")
    device: str | None = option(None, help="cpu, cuda, cuda:1 (transformers engine; default: cuda where there is one)")
    temperature: float = option(1.0, help="of sampling; 0 takes the most likely token", least=0)
    top_p: float = option(1.0, above=0, most=1, help="sample from the most likely tokens that make up this probability")
    max_tokens: int = option(512, help="longest completion, in tokens", least=1)
    stop: tuple[str, ...] = option((), help="texts that end a completion", breaks=True)
    part_completions: int = option(2048, least=1, help="completions committed together; a kill costs at most two "
                                                      "such parts")


@dataclass(frozen=True)
class EngineConfig(SamplerConfig, PromptConfig):
    """Which policy, how it is asked, and how it samples."""

    policy: str = option(help="the policy: a folder or a hub name")
    dtype: str = option("auto", help="of the weights in memory", choices=("float32", "bfloat16", "float16"),
                        auto="the checkpoint's, float32 on a CPU")
    splitter: str = option("newline", help="where steps end", choices=SPLITTERS, auto="what most solutions ask for")
    seed: int = option(0, help="seed of the run", least=0, most=LARGEST_SEED)
    dry_run: bool = option(False, help="print what would be done, with counts and estimates, and stop")
    tokens_per_second: float | None = option(None, above=0, help=(
        "for --dry-run: what the engine is expected to generate (default: measured where the policy loads in seconds)"))


def sampling_of(config: SamplerConfig) -> Sampling:
    """The sampling settings, where the engine has the options that are asked of it too. Raises InputError."""
    check_options(config.engine, parse_options(config.engine_options))
    return Sampling(config.temperature, config.top_p, config.max_tokens, config.stop)


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """{"tensor_parallel_size": 4} of ["tensor-parallel-size=4"]; values are read as YAML. Raises InputError."""
    import yaml

    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"engine_options: expected name=value, found {text!r}")
        try:
            options[name.replace("-", "_")] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InputError(f"engine_options: {name}: expected a value as YAML, found {value!r:.80}") from error
    return options


def engine_of(config: EngineConfig) -> Engine:
    """The engine, loaded. Raises InputError or MissingExtraError."""
    return engine_with(config, config.policy, template_of(config), config.dtype)


def engine_with(config: SamplerConfig, policy: str, template: PromptTemplate, dtype: str = "auto") -> Engine:
    """The engine that samples as `config` says, with another policy. Raises InputError or MissingExtraError."""
    options = parse_options(config.engine_options)
    check_options(config.engine, options)
    if config.engine.endswith("transformers") and config.device is not None:
        from erprm.devices import find_device

        find_device(config.device)  # before the model is looked at
        options["device"] = config.device
    check_policy(template, policy)
    try:
        return load_engine(config.engine, policy, template=template, dtype=dtype, **options)
    except TypeError as error:
        raise InputError(f"engine_options: {error}") from error


def check_policy(template: PromptTemplate, policy: str) -> None:
    """Whether a policy takes the prompt, and a folder can be read, asked before any weights are. Raises InputError."""
    from erprm.tokenizers import load_tokenizer

    template.ids(load_tokenizer(policy), "1+1?", "")
    check_model(policy)


def check_model(model: str) -> None:
    """Whether a folder, if it is one and no name on the hub, holds a model that can be read. Raises InputError."""
    from erprm.prm.checkpoints.folders import check_folder

    if Path(model).exists() or model.count("/") > 1 or model[:1] in "./~":
        check_folder(model)


def duration(seconds: float) -> str:
    """"2.5 hours", "40 minutes", "12 seconds"."""
    for size, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:,.0f} seconds"
