"""A policy for tests: it writes "#### <answer>" with the right answer as often as a prefix's name says."""

import hashlib
from collections.abc import Sequence

from erprm.engines import Completion, Request, Sampling
from erprm.problems import Problem
from erprm.rows import StepRow


class CoinEngine:
    """Right with the probability that stands in the prefix's last step ("p=0.25"), by the request's seeds."""

    def __init__(self, tokens: int = 5) -> None:
        self.tokens, self.asked = tokens, 0

    def fingerprint(self) -> dict[str, str]:
        return {"engine": "coin 1", "model": "coin"}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        result = []
        for request in requests:
            self.asked += request.n
            p = float(request.prefix.rstrip().rpartition("p=")[2] or 0.5)
            drawn = []
            for i in range(request.n):
                digest = hashlib.blake2b(f"{request.seed + i}".encode(), digest_size=8).digest()
                right = int.from_bytes(digest, "little") / 2**64 < p
                drawn.append(Completion(f"so\n#### {7 if right else 8}", "stop", self.tokens))
            result.append(drawn)
        return result

    def close(self) -> None:
        pass


def problems(count: int) -> list[Problem]:
    return [Problem(id=f"p{i}", question=f"question {i}", answer="7", grader="numeric") for i in range(count)]


def row(problem: int, *steps: str, outcome: float | None = 1.0, finished: bool = True) -> StepRow:
    return StepRow(prompt=f"question {problem}", steps=steps, outcome=outcome, finished=finished,
                   problem_id=f"p{problem}")
