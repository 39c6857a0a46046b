"""`Problem`, and readers that bring public problem sets into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with a checkable answer.

    Attributes:
        id: unique within a run.
        question: the text given to the policy.
        answer: the reference (gold) answer.
        solution: a reference solution, where the source has one.
        grader: how an answer is checked: "math", "numeric", "exact", "choice", or "reasoning-gym:<task>".
        metadata: what the grader needs besides (a task verifier's entry).
    """

    id: str
    question: str
    answer: str
    solution: str | None = None
    grader: str = "math"
    metadata: Mapping[str, Any] = field(default_factory=dict)
