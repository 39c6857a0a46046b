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

import os
from collections.abc import Iterator, Sequence
from typing import Any

from erprm.engines.actors import ActorCount, Actors, GpuShare, Retries, Share, resources
from erprm.engines.base import Completion, Engine, Request, Sampling, prefix_seed
from erprm.errors import InputError, import_extra
from erprm.options import Count, checked
from erprm.tokenizers import load_tokenizer

INNER = ("transformers", "vllm")


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

    @checked
    def __init__(self, inner: str, model: str, *, actors: ActorCount = 2, batch_requests: Count = 64,
                 address: str | None = None, cpus: Share = 1.0, gpus: GpuShare = None, retries: Retries = 3,
                 **options: Any) -> None:
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
        _check(inner)
        template = options.get("template")
        if template is not None and template.kind == "chat":
            template.check(load_tokenizer(model, revision=options.get("revision")))
        self._batch = batch_requests
        self._actors = Actors(_Worker, (inner, model, options), f"the engine {inner!r} with model {model!r}",
                              actors=actors, address=address, cpus=cpus, gpus=gpus, retries=retries, options=options)

    def fingerprint(self) -> dict[str, str]:
        """That of the inner engine: its completions do not depend on where they are written."""
        return dict(self._actors.described)

    def processes(self) -> list[int]:
        """The process id of each actor, on its own machine."""
        return self._actors.processes()

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
        yield from self._actors.map(
            lambda actor, start: actor.sample.remote(start, requests[start : start + self._batch], sampling),
            range(0, len(requests), self._batch))

    def close(self) -> None:
        """End the actors, and Ray where this engine has started it."""
        self._actors.close()


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


@checked
def sample_dataset(dataset: Any, inner: str, model: str, sampling: Sampling, *, n: Count = 1, seed: int = 0,
                   actors: ActorCount = 2, batch_requests: Count = 64, cpus: Share = 1.0, gpus: GpuShare = None,
                   **options: Any) -> Any:
    """A Ray data set with completions for each of its rows, computed when it is read or written.

    Args:
        dataset: a `ray.data.Dataset` with a column `question` and, where partial solutions are continued, `prefix`.
        n, seed: completions a row; a row's seed is made of `seed`, its question and its prefix.
        inner, model, actors, batch_requests, cpus, gpus, options: as for `RayEngine`.

    Returns:
        The data set with the columns `completions` and `finish_reasons`, a list of n texts each.
    """
    _check(inner)
    ray = import_extra("ray", "ray")
    from ray.data import ActorPoolStrategy

    return dataset.map_batches(SampleBatches, fn_constructor_args=(inner, model, sampling, n, seed, options),
                               batch_size=batch_requests, compute=ActorPoolStrategy(size=actors),
                               **resources(ray, cpus, gpus, options))


def _check(inner: str) -> None:
    if inner not in INNER:
        raise InputError(f"ray: expected an inner engine of {', '.join(INNER)}, found {inner!r}")
