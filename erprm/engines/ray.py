"""Sampling on many GPUs and machines: Ray actors that each hold an engine.

    engine = RayEngine("vllm", "path/to/policy", actors=8)          # on this machine, or the cluster of RAY_ADDRESS
    completions = engine.sample(requests, Sampling(max_tokens=512))
    engine.close()

    sample_dataset(ray.data.read_parquet("problems.parquet"), "vllm", "path/to/policy", Sampling(), n=16, actors=8)

Labelling samples in many rounds, so `RayEngine` keeps its actors from one round to the next; `sample_dataset` is the
one-pass form on a Ray data set, whose actors Ray Data starts and ends with it. In both, an actor that dies costs the
batch that it was working on: Ray starts another and gives it that batch again, and the seeds make the same completions.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

from erprm.engines.base import Completion, Engine, Request, Sampling, prefix_seed
from erprm.engines.vllm_process import cpu_environment, on_cpu
from erprm.errors import InputError, import_extra

INNER = ("transformers", "vllm")
_FORWARDED = ("HF_HOME", "HF_HUB_OFFLINE", "HF_TOKEN", "TOKENIZERS_PARALLELISM")


class _Worker:
    """What runs in an actor: one engine."""

    def __init__(self, inner: str, model: str, options: dict[str, Any]) -> None:
        from erprm.engines.transformers import TransformersEngine
        from erprm.engines.vllm import VllmEngine

        self._engine: Engine = (VllmEngine if inner == "vllm" else TransformersEngine)(model, **options)

    def describe(self) -> dict[str, str]:
        return self._engine.fingerprint()

    def pid(self) -> int:
        return os.getpid()

    def sample(self, start: int, requests: Sequence[Request], sampling: Sampling,
               ) -> tuple[int, list[list[Completion]]]:
        return start, self._engine.sample(requests, sampling)


class RayEngine:
    """Spreads batches of requests over actors; an idle one takes the next batch."""

    def __init__(self, inner: str, model: str, *, actors: int = 2, batch_requests: int = 64, address: str | None = None,
                 cpus: float = 1.0, gpus: float | None = None, retries: int = 3, **options: Any) -> None:
        """Start the actors and load the policy in each.

        Args:
            inner: "transformers" or "vllm".
            model: a folder that every machine sees, or a hub name.
            actors: how many engines.
            batch_requests: requests in one batch: what a lost actor costs.
            address: of a Ray cluster; by default that of RAY_ADDRESS, else a Ray of its own on this machine.
            cpus, gpus: what an actor takes; by default `tensor_parallel_size` GPUs, none where there are none.
            retries: how often a batch is tried again whose actor died.
            options: the inner engine's own (`template`, `dtype`, `max_model_len`, ...).

        Raises:
            InputError: for an unknown inner engine, a bad number, what the inner engine refuses, or actors whose
                engines differ.
            MissingExtraError: when Ray is not installed.
        """
        _check(inner, actors, batch_requests)
        ray = import_extra("ray", "ray")
        self._ray, self._batch = ray, batch_requests
        self._owner = _start(ray, address, math.ceil(cpus * actors))
        self._actors: list[Any] = []
        wanted = _resources(ray, cpus, gpus, options)
        found = ray.cluster_resources().get("GPU", 0)
        if self._owner and _on_this_machine(address) and actors * wanted["num_gpus"] > found:
            self.close()
            raise InputError(f"actors: {actors} of {wanted['num_gpus']:g} GPUs each, found {found:g} on this machine")
        remote = ray.remote(_Worker).options(**wanted, max_restarts=-1, max_task_retries=retries)
        self._actors = [remote.remote(inner, model, options) for _ in range(actors)]
        try:
            described = ray.get([actor.describe.remote() for actor in self._actors])
        except ray.exceptions.ActorDiedError as error:
            self.close()
            raise InputError(f"ray: an actor could not load the engine {inner!r} with model {model!r}: "
                             f"{_cause(error)}") from error
        if any(other != described[0] for other in described):
            self.close()
            raise InputError(f"ray: expected the same engine and model in every actor, found {described}")
        self._fingerprint: dict[str, str] = described[0]

    def fingerprint(self) -> dict[str, str]:
        """That of the inner engine: its completions do not depend on where they are written."""
        return self._fingerprint

    def processes(self) -> list[int]:
        """The process id of each actor, on its own machine."""
        return list(self._ray.get([actor.pid.remote() for actor in self._actors]))

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """For each request, in order, its n completions, in the order of their seeds.

        Raises:
            InputError: for what the inner engine refuses, or a closed engine.
            ray.exceptions.RayActorError: for a batch whose actor died at every try.
        """
        results: list[list[Completion]] = [[] for _ in requests]
        for start, completions in self.batches(requests, sampling):
            results[start : start + len(completions)] = completions
        return results

    def batches(self, requests: Sequence[Request], sampling: Sampling,
                ) -> Iterator[tuple[int, list[list[Completion]]]]:
        """The same batch by batch, as they finish: (index of its first request, completions of its requests)."""
        if not self._actors:
            raise InputError("engine: it was closed")
        from ray.util import ActorPool

        pool = ActorPool(self._actors)
        starts = range(0, len(requests), self._batch)
        try:
            yield from pool.map_unordered(
                lambda actor, start: actor.sample.remote(start, requests[start : start + self._batch], sampling),
                starts)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from None
            raise

    def close(self) -> None:
        """End the actors, and Ray where this engine has started it."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []
        if self._owner:
            self._ray.shutdown()
            self._owner = False


class SampleBatches:
    """The function class of `sample_dataset`: holds an engine, adds the columns `completions` and `finish_reasons`."""

    def __init__(self, inner: str, model: str, sampling: Sampling, n: int, seed: int, options: dict[str, Any]) -> None:
        self._worker = _Worker(inner, model, options)
        self._sampling, self._n, self._seed = sampling, n, seed

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        questions = [str(question) for question in batch["question"]]
        prefixes = [str(prefix) for prefix in batch.get("prefix", [""] * len(questions))]
        requests = [Request(question, prefix, self._n, prefix_seed(self._seed, question, prefix))
                    for question, prefix in zip(questions, prefixes, strict=True)]
        _, written = self._worker.sample(0, requests, self._sampling)
        return batch | {"completions": [[completion.text for completion in row] for row in written],
                        "finish_reasons": [[completion.finish_reason for completion in row] for row in written]}


def sample_dataset(dataset: Any, inner: str, model: str, sampling: Sampling, *, n: int = 1, seed: int = 0,
                   actors: int = 2, batch_requests: int = 64, cpus: float = 1.0, gpus: float | None = None,
                   **options: Any) -> Any:
    """A Ray data set with completions for each of its rows, computed when it is read or written.

    Args:
        dataset: a `ray.data.Dataset` with a column `question` and, where partial solutions are continued, `prefix`.
        n, seed: completions a row; a row's seed is made of `seed`, its question and its prefix.
        inner, model, actors, batch_requests, cpus, gpus, options: as for `RayEngine`.

    Returns:
        The data set with the columns `completions` and `finish_reasons`, a list of n texts each.
    """
    _check(inner, actors, batch_requests)
    ray = import_extra("ray", "ray")
    from ray.data import ActorPoolStrategy

    return dataset.map_batches(SampleBatches, fn_constructor_args=(inner, model, sampling, n, seed, options),
                               batch_size=batch_requests, compute=ActorPoolStrategy(size=actors),
                               **_resources(ray, cpus, gpus, options))


def _check(inner: str, actors: int, batch_requests: int) -> None:
    if inner not in INNER:
        raise InputError(f"ray: expected an inner engine of {', '.join(INNER)}, found {inner!r}")
    if actors < 1 or batch_requests < 1:
        raise InputError(f"actors and batch_requests: expected at least 1, found {actors}, {batch_requests}")


def _on_this_machine(address: str | None) -> bool:
    return not (address or os.environ.get("RAY_ADDRESS"))


def _start(ray: Any, address: str | None, cpus: int) -> bool:
    """Connect to Ray, or start one for this process, of at least `cpus` processors so that no actor waits for ever.

    Returns whether this call began it.
    """
    if ray.is_initialized():
        return False
    if not _on_this_machine(address):
        ray.init(address=address, log_to_driver=False)
        return True
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a Ray of this machine's own answers to this machine only
    os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by default, though here the actors are who does the work
    ray.init(address="local", num_cpus=max(cpus, os.cpu_count() or 1), include_dashboard=False,
             _node_ip_address="127.0.0.1", log_to_driver=False)
    return True


def _resources(ray: Any, cpus: float, gpus: float | None, options: dict[str, Any]) -> dict[str, Any]:
    """What an actor asks Ray for, and the environment that its process starts with."""
    cluster_gpus = ray.cluster_resources().get("GPU", 0)
    if gpus is None:
        gpus = float(options.get("tensor_parallel_size", 1)) if cluster_gpus else 0.0
    environment = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
    if not gpus and on_cpu():
        environment |= cpu_environment(int(options.get("threads", 1)))
    return {"num_cpus": cpus, "num_gpus": gpus, "runtime_env": {"env_vars": environment}}


def _cause(error: BaseException) -> str:
    """The last line of the traceback that an actor died with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line and ":" in line]
    return (named or lines or [type(error).__name__])[-1]
