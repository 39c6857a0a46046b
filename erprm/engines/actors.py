"""Ray actors that each hold one model: started once, given batches as they are idle, restarted when they die.

    actors = Actors(Worker, ("vllm", "path/to/policy", {}), "the engine 'vllm'", actors=8)
    for result in actors.map(lambda actor, start: actor.sample.remote(start, requests[start : start + 64]), starts):
        ...                                             # in the order in which they finish
    actors.close()

`erprm.engines.ray` samples with them, `erprm.prm.scoring.ray` scores.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Protocol

from erprm.engines.vllm_process import cpu_environment, on_cpu
from erprm.errors import InputError, import_extra
from erprm.options import LARGEST_WORKERS, Within

ActorCount = Annotated[int, Within(least=1, most=LARGEST_WORKERS)]
Share = Annotated[float, Within(least=0, most=LARGEST_WORKERS)]  # of processors, for one actor
GpuShare = Annotated[float | None, Within(least=0, most=LARGEST_WORKERS)]
Retries = Annotated[int, Within(least=0)]

_FORWARDED = ("HF_HOME", "HF_HUB_OFFLINE", "HF_TOKEN", "TOKENIZERS_PARALLELISM")


class Worker(Protocol):
    """What runs in an actor, besides its own work: it holds the model."""

    def describe(self) -> Mapping[str, Any]:
        """What all actors must agree in."""
        ...

    def pid(self) -> int:
        """Its process on its machine."""
        ...


class Actors:
    """A pool of actors that hold the same model.

    Attributes:
        described: what each of them says of itself.
    """

    def __init__(self, worker: Callable[..., Worker], arguments: tuple[Any, ...], what: str, *, actors: int,
                 address: str | None, cpus: float, gpus: float | None, retries: int, options: Mapping[str, Any],
                 ) -> None:
        """Start the actors and load the model in each.

        Args:
            worker, arguments: what is made in each actor.
            what: it holds, for messages.
            actors: how many.
            address: of a Ray cluster; by default that of RAY_ADDRESS, else a Ray of its own on this machine.
            cpus, gpus: what an actor takes; by default `tensor_parallel_size` GPUs, none where there are none.
            retries: how often a batch is tried again whose actor died.
            options: the model's, of which `tensor_parallel_size` and `threads` are read.

        Raises:
            InputError: for a cluster that isn't there, what the worker refuses, or actors that hold different models.
            MissingExtraError: when Ray is not installed.
        """
        ray = import_extra("ray", "ray")
        self._ray, self._owner = ray, _start(ray, address, math.ceil(cpus * actors))
        self._actors: list[Any] = []
        wanted = resources(ray, cpus, gpus, options)
        found = ray.cluster_resources().get("GPU", 0)
        if self._owner and _on_this_machine(address) and actors * wanted["num_gpus"] > found:
            self.close()
            raise InputError(f"actors: {actors} of {wanted['num_gpus']:g} GPUs each, found {found:g} on this machine")
        remote = ray.remote(worker).options(**wanted, max_restarts=-1, max_task_retries=retries)
        self._actors = [remote.remote(*arguments) for _ in range(actors)]
        try:
            described = ray.get([actor.describe.remote() for actor in self._actors])
        except ray.exceptions.ActorDiedError as error:
            self.close()
            raise InputError(f"ray: an actor could not load {what}: {_cause(error)}") from error
        if any(other != described[0] for other in described):
            self.close()
            raise InputError(f"ray: expected the same engine and model in every actor, found {described}")
        self.described: Mapping[str, Any] = described[0]

    def processes(self) -> list[int]:
        """The process id of each actor, on its own machine."""
        return list(self._ray.get([actor.pid.remote() for actor in self._actors]))

    def map(self, call: Callable[[Any, int], Any], starts: Iterable[int]) -> Iterator[Any]:
        """The results of `call(actor, start)` for every start, as they finish.

        Raises:
            InputError: raised in an actor, or for a closed pool.
            ray.exceptions.RayActorError: for a batch whose actor died at every try.
        """
        if not self._actors:
            raise InputError("engine: it was closed")
        from ray.util import ActorPool

        try:
            yield from ActorPool(self._actors).map_unordered(call, starts)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from None
            raise

    def close(self) -> None:
        """End the actors, and Ray where this pool has started it."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []
        if self._owner:
            self._ray.shutdown()
            self._owner = False


def _on_this_machine(address: str | None) -> bool:
    return not (address or os.environ.get("RAY_ADDRESS"))


def _start(ray: Any, address: str | None, cpus: int) -> bool:
    """Connect to Ray, or start one for this process, of at least `cpus` processors so that no actor waits for ever.

    Returns whether this call began it.
    """
    if ray.is_initialized():
        return False
    if not _on_this_machine(address):
        try:
            ray.init(address=address, log_to_driver=False)
        except (OSError, ValueError, RuntimeError) as error:
            found = address or os.environ["RAY_ADDRESS"]
            raise InputError(f"address: expected that of a Ray cluster, found {found!r}: "
                             f"{' '.join(str(error).split())[:200]}") from error
        return True
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a Ray of this machine's own answers to this machine only
    os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by default, though here the actors are who does the work
    ray.init(address="local", num_cpus=max(cpus, os.cpu_count() or 1), include_dashboard=False,
             _node_ip_address="127.0.0.1", log_to_driver=False)
    return True


def resources(ray: Any, cpus: float, gpus: float | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """What an actor asks Ray for, and the environment that its process starts with."""
    cluster_gpus = ray.cluster_resources().get("GPU", 0)
    if gpus is None:
        gpus = float(options.get("tensor_parallel_size", 1)) if cluster_gpus else 0.0
    environment = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
    if not gpus and on_cpu():
        environment |= cpu_environment(int(options.get("threads", max(1, cpus))))
    return {"num_cpus": cpus, "num_gpus": gpus, "runtime_env": {"env_vars": environment}}


def _cause(error: BaseException) -> str:
    """The last line of the traceback that an actor died with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line and ":" in line]
    return (named or lines or [type(error).__name__])[-1]
