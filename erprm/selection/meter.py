"""What a search costs: tokens that the policy generates.

    policy = Meter(engine)
    beam_search(questions, policy, score, settings)
    policy.samples, policy.tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from erprm.engines.base import Completion, Engine, Request, Sampling


class Meter:
    """An engine that counts; everything else is the engine's own.

    Attributes:
        samples: completions asked for; tokens: tokens generated for them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.samples = 0
        self.tokens = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def sample(self, requests: Sequence[Request], sampling: Sampling, *more: Any) -> list[list[Completion]]:
        """As the engine's."""
        found = self._engine.sample(requests, sampling, *more)
        self.samples += sum(map(len, found))
        self.tokens += sum(completion.tokens for of_request in found for completion in of_request)
        return found

    def fingerprint(self) -> dict[str, str]:
        """As the engine's."""
        return self._engine.fingerprint()

    def close(self) -> None:
        """As the engine's."""
        self._engine.close()
