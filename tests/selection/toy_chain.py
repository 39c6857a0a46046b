"""A policy over two steps whose probabilities, and so whose values, are known exactly."""

import random
from collections.abc import Sequence

import numpy as np

from erprm.engines import Completion, Request, Sampling
from erprm.values import soft_mean

# A policy over two steps: the first is a, b or c, the second x or y; then it ends.
FIRST = {"a": 0.6, "b": 0.3, "c": 0.1}
SECOND = {"x": 0.7, "y": 0.3}
REWARD = {("a", "x"): 0.0, ("a", "y"): 0.2, ("b", "x"): 0.1, ("b", "y"): 0.9, ("c", "x"): 0.3, ("c", "y"): 1.0}


class TwoSteps:
    """An engine that samples from the table above."""

    def __init__(self) -> None:
        self.written = 0

    def fingerprint(self) -> dict[str, str]:
        return {"engine": "table"}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        return [[self._one(request, request.seed + i) if "\n" in sampling.stop else self._whole(request.seed + i)
                 for i in range(request.n)] for request in requests]

    def _one(self, request: Request, seed: int) -> Completion:
        self.written += 1
        table = SECOND if request.prefix else FIRST
        [step] = random.Random(seed).choices(list(table), list(table.values()))
        return Completion(step, "stop", 1, None if request.prefix else "\n")

    def _whole(self, seed: int) -> Completion:
        self.written += 1
        draw = random.Random(seed)
        steps = [draw.choices(list(table), list(table.values()))[0] for table in (FIRST, SECOND)]
        return Completion("\n".join(steps), "stop", 2)

    def close(self) -> None:
        pass


def soft_values(eta: float):
    """The exact V_eta of every prefix, as a scorer."""
    def score(texts: Sequence[tuple[str, Sequence[str]]]) -> list[np.ndarray]:
        return [np.array([value(tuple(steps[: i + 1])) for i in range(len(steps))]) for _, steps in texts]

    def value(steps: tuple[str, ...]) -> float:
        if len(steps) == 2:
            return REWARD[steps]
        return float(soft_mean([REWARD[steps[0], s] for s in SECOND], eta, list(SECOND.values())))

    return score
