"""`Problem`: a question with a checkable answer, and what makes two problems the same one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from erprm.errors import InputError


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with a checkable answer.

    Attributes:
        id: unique within a run.
        question: the text given to the policy.
        answer: the reference (gold) answer.
        solution: a reference solution, where the source has one.
        grader: how an answer is checked: "math", "numeric", "exact", "choice", "reasoning-gym:<task>" or
            "python:<module>:<function>".
        metadata: what the grader needs besides (a task verifier's entry).
    """

    id: str
    question: str
    answer: str
    solution: str | None = None
    grader: str = "math"
    metadata: Mapping[str, Any] = field(default_factory=dict)


def problem_key(problem: Problem) -> str:
    """What makes two problems the same one: the question up to case and white space; for countdown, which words one
    puzzle in several ways, its numbers and target."""
    numbers, target = problem.metadata.get("numbers"), problem.metadata.get("target")
    if problem.grader == "reasoning-gym:countdown" and numbers is not None:
        return f"countdown {sorted(numbers)} {target}"
    return " ".join(problem.question.lower().split())


def distinct(problems: Iterable[Problem], exclude: Iterable[Problem] = ()) -> list[Problem]:
    """The first of each group of same problems, without those that are in `exclude`."""
    seen = {problem_key(problem) for problem in exclude}
    kept: list[Problem] = []
    for problem in problems:
        key = problem_key(problem)
        if key not in seen:
            seen.add(key)
            kept.append(problem)
    return kept


def check_disjoint(sets: Mapping[str, Sequence[Problem]]) -> None:
    """Raise InputError when two of the named problem sets share a problem, naming both sets and one of the problems."""
    owner: dict[str, tuple[str, str]] = {}
    for name, problems in sets.items():
        for problem in problems:
            other, other_id = owner.setdefault(problem_key(problem), (name, problem.id))
            if other != name:
                raise InputError(f"problem sets {other} and {name}: expected no common problem, found "
                                 f"{other_id!r} and {problem.id!r}: {problem.question[:60]!r}")
