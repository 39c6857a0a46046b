"""Search methods compared at equal compute: accuracy against the tokens that were generated and scored.

    bench = SearchBench(problems, policy, prm, grader, settings)
    point = bench.point("smc", n=16, folder=out / "points", identity=identity)
    point.accuracy, point.generated, point.scored

A point is one method at one N over all problems. What it costs is counted, not estimated: tokens that the policy
generated, and tokens that the reward model computed (prefixes that were kept are not computed again). Points are made
in parts; what an interrupted run has finished is not done again, and each part starts with nothing kept, so that its
cost is the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from erprm.engines.base import Engine
from erprm.errors import InputError
from erprm.files.parts import Parts
from erprm.grading import GraderPool
from erprm.prm.scoring.prefixes import PrefixScorer
from erprm.prm.scoring.scorer import PRMScorer
from erprm.problems import Problem
from erprm.selection.graded import graded_rows
from erprm.selection.meter import Meter
from erprm.selection.methods import METHODS, MethodOptions
from erprm.selection.search import Branch
from erprm.statistics.bootstrap import bootstrap_interval


@dataclass(frozen=True, slots=True)
class Point:
    """One method at one N.

    Attributes:
        accuracy, low, high: of its answers, with the 95 % bootstrap interval over problems.
        generated, scored: tokens per problem.
        right: 1.0 or 0.0 for each problem.
        lost: candidates that the reward model could not read.
    """

    method: str
    n: int
    accuracy: float
    low: float
    high: float
    generated: float
    scored: float
    lost: int
    right: tuple[float, ...]

    @property
    def tokens(self) -> float:
        """Generated and scored tokens per problem."""
        return self.generated + self.scored

    def to_dict(self) -> dict[str, Any]:
        """As in search.json."""
        return asdict(self) | {"tokens": self.tokens}


@dataclass(frozen=True)
class SearchBench:
    """What all points share."""

    problems: Sequence[Problem]
    engine: Engine
    prm: PRMScorer
    grader: GraderPool
    options: MethodOptions
    memory_gib: float
    part_problems: int

    def point(self, method: str, n: int, folder: Path, identity: Mapping[str, str],
              advance: Callable[[int], object] | None = None) -> Point:
        """Run a method, or read what an earlier run has finished of it.

        Args:
            folder: of all points; this one lies in `<method>-<n>`.
            identity: everything else on which the result depends; a run with another one is refused.
            advance: called with the number of problems that are done.
        """
        right: list[float] = []
        generated = scored = lost = 0
        settings = {**identity, "method": method, "n": str(n), "part_problems": str(self.part_problems)}
        with Parts.open(folder / f"{method}-{n}", settings, ".json") as parts:
            for number, start in enumerate(range(0, len(self.problems), self.part_problems), start=1):
                part = self.problems[start: start + self.part_problems]
                data = parts.read(number)
                if data is None:
                    data = json.dumps(self._part(method, n, part)).encode()
                    parts.write(number, data)
                found = json.loads(data)
                right += found["right"]
                generated, scored = generated + found["generated"], scored + found["scored"]
                lost += found["lost"]
                if advance is not None:
                    advance(len(part))
        low, high = bootstrap_interval(right)
        count = len(self.problems)
        return Point(method, n, float(np.mean(right)), float(low), float(high), generated / count, scored / count, lost,
                     tuple(right))

    def _part(self, method: str, n: int, problems: Sequence[Problem]) -> dict[str, Any]:
        policy, scorer = Meter(self.engine), PrefixScorer(self.prm, self.memory_gib)
        before, lost = scorer.report.computed, []

        def refused(branch: Branch, error: InputError) -> None:
            lost.append(error)

        found = METHODS[method].search([problem.question for problem in problems], policy, scorer.score,
                                       replace(self.options, n=n), None, refused)
        rows = graded_rows(problems, found, self.grader, METHODS[method].votes)
        first = {row.problem_id: row.outcome or 0.0 for row in reversed(rows)}
        return {"right": [first.get(problem.id, 0.0) for problem in problems],
                "generated": policy.tokens, "scored": scorer.report.computed - before, "lost": len(lost)}
