"""Accuracy against N for every selector on one pool of candidates, with intervals and paired tests.

    pool = Pool(answers, correct, {"orm": orm_scores, "er_eta_2": er_scores})        # scores [P, N] per solution
    curves = accuracy_curves(pool, ns=[1, 2, 4, 8], weigh_by="er_eta_2")
    curves.table()                                    # {"n": [...], "<selector>": {"accuracy", "low", "high"}}
    compare(curves, pairs=[("er_eta_2", "soft")], n=8)

Selectors: every scorer of the pool by its name, "majority", "weighted_majority" (when one scorer is named to weigh the
votes; both only where candidates have answers) and "pass@n". All are evaluated on the same problems, so `compare` can
pair them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from erprm.errors import InputError
from erprm.evaluation.style import BASELINES
from erprm.selection import best_of_n_by_problem, majority_by_problem, pass_at_n_by_problem
from erprm.statistics.bootstrap import Comparison, bootstrap_interval, paired_test
from erprm.values import Array


@dataclass(frozen=True)
class Pool:
    """N candidates for each of P problems.

    Attributes:
        answers: [P][N], as they vote: equal for all spellings of one answer; None where there is none.
        correct: [P, N], 0 or 1.
        scores: by scorer, [P, N]: one number per candidate, higher is better.
    """

    answers: Sequence[Sequence[Hashable]]
    correct: Array
    scores: Mapping[str, Array]

    @property
    def votes(self) -> int:
        """How many candidates have an answer to vote for; without any there is no vote."""
        return sum(answer is not None for answers in self.answers for answer in answers)


@dataclass(frozen=True)
class Curves:
    """By selector the expected accuracy per problem, [P, len(ns)]."""

    ns: tuple[int, ...]
    by_problem: Mapping[str, Array]
    seed: int = 0
    level: float = 0.95

    def best_of_n(self) -> BestOfN:
        """The means over problems with their intervals."""
        lines = {}
        for name, values in self.by_problem.items():
            low, high = bootstrap_interval(values, self.level, self.seed)
            lines[name] = Line(tuple(values.mean(axis=0).tolist()), tuple(low.tolist()), tuple(high.tolist()))
        return BestOfN(self.ns, lines)

    def table(self) -> dict[str, Any]:
        """As in results.json."""
        return self.best_of_n().to_dict()


@dataclass(frozen=True, slots=True)
class Line:
    """A selector's accuracy at every N, with its interval."""

    accuracy: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BestOfN:
    """What tables, figures and findings show: accuracy against N, by selector."""

    ns: tuple[int, ...]
    lines: Mapping[str, Line]

    @property
    def scorers(self) -> list[str]:
        """The reward models among the selectors, without the votes and the ceiling."""
        return [name for name in self.lines if name not in BASELINES]

    def last(self, name: str) -> float:
        """A selector's accuracy at the largest N."""
        return self.lines[name].accuracy[-1]

    @classmethod
    def of_dict(cls, table: Mapping[str, Any]) -> BestOfN:
        """From {"n": [...], "<selector>": {"accuracy": [...], "low": [...], "high": [...]}}, as in results.json."""
        return cls(tuple(table["n"]), {name: Line(*(tuple(entry[key]) for key in ("accuracy", "low", "high")))
                                       for name, entry in table.items() if name != "n"})

    def to_dict(self) -> dict[str, Any]:
        """The same form."""
        return {"n": list(self.ns)} | {name: {"accuracy": list(line.accuracy), "low": list(line.low),
                                              "high": list(line.high)} for name, line in self.lines.items()}


def accuracy_curves(pool: Pool, ns: Sequence[int], *, weigh_by: str | None = None, seed: int = 0,
                    level: float = 0.95) -> Curves:
    """Every selector at every n.

    Args:
        ns: subset sizes, each at most N.
        weigh_by: the scorer whose scores weigh the votes of "weighted_majority"; without it that curve is left out.
        seed: of the vote's subsets and of the bootstrap.
    """
    if weigh_by is not None and weigh_by not in pool.scores:
        raise InputError(f"weigh_by: expected one of {', '.join(pool.scores)}, found {weigh_by!r}")
    found = {name: best_of_n_by_problem(scores, pool.correct, ns) for name, scores in pool.scores.items()}
    if pool.votes:
        found["majority"] = majority_by_problem(pool.answers, pool.correct, ns, seed=seed)
    if pool.votes and weigh_by is not None:
        weights = pool.scores[weigh_by]
        found["weighted_majority"] = majority_by_problem(pool.answers, pool.correct, ns, weights, seed=seed)
    found["pass@n"] = pass_at_n_by_problem(pool.correct, ns)
    return Curves(tuple(ns), found, seed, level)


def compare(curves: Curves, pairs: Iterable[tuple[str, str]], n: int) -> list[Comparison]:
    """Paired tests at `n`. The name "pass@1" stands for one random candidate.

    Raises:
        InputError: for an unknown selector, or n that the curves do not have.
    """
    if n not in curves.ns:
        raise InputError(f"n: expected one of {', '.join(map(str, curves.ns))}, found {n}")

    def column(name: str) -> Array:
        if name == "pass@1":
            return np.asarray(curves.by_problem["pass@n"][:, curves.ns.index(1)])
        if name not in curves.by_problem:
            raise InputError(f"pairs: expected one of {', '.join(curves.by_problem)}, found {name!r}")
        return np.asarray(curves.by_problem[name][:, curves.ns.index(n)])

    return [Comparison(first, second, n, paired_test(column(first), column(second), curves.level, curves.seed))
            for first, second in pairs]
