"""The protocol that every engine speaks: prefixes in, completions out.

    engine.sample([Request(question="2+3?", prefix="", n=16, seed=7)], Sampling(max_tokens=64))

Sample i of a request is drawn with seed `request.seed + i`, whatever else is in the batch, so that a run that was
interrupted, split or reordered draws the same completions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from erprm.errors import InputError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. `temperature` 0 is greedy. `stop` strings end a completion and are not part of its text."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise InputError(f"temperature: expected a number >= 0, found {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p: expected a number in (0, 1], found {self.top_p}")
        if self.max_tokens < 1:
            raise InputError(f"max_tokens: expected at least 1, found {self.max_tokens}")


@dataclass(frozen=True, slots=True)
class Request:
    """`n` completions of a partial solution `prefix` (may be empty) to `question`, with seeds seed .. seed + n - 1."""

    question: str
    prefix: str
    n: int
    seed: int


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion. `text` continues the prefix; `length` means that it was cut off at `max_tokens`."""

    text: str
    finish_reason: Literal["stop", "length"]
    tokens: int  # generated tokens, the end-of-sequence token included
    stopped_at: str | None = None  # the stop string that ended it; None where the model ended by itself or was cut off


class Engine(Protocol):
    """Writes text. Implementations: `transformers`, `vllm`, `ray`."""

    def fingerprint(self) -> dict[str, str]:
        """What the completions depend on besides the request: model identity, engine name and version, dtype."""
        ...

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """For each request, in order, its n completions, in the order of their seeds."""
        ...

    def close(self) -> None:
        """Free what the engine holds. Sampling afterwards is an error."""
        ...


def prefix_seed(seed: int, *parts: str) -> int:
    """A 31-bit seed for the first sample of a prefix, from the run's seed and the prefix itself (BLAKE2b)."""
    digest = hashlib.blake2b("\x1f".join([str(seed), *parts]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") & 0x7FFF_FFFF
