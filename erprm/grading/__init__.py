"""Is the answer right? Extraction of final answers, and graders that cannot hang or lie.

    grade("... so the total is $\\\\boxed{1,200}$.", "1200")          # True
    extract_answer("9 * 2 = 18\\n#### 18")                           # "18"
    with GraderPool(workers=4) as pool:
        right = pool.grade_many([(text, problem), ...])              # each distinct pair once
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from erprm.grading.comparing import vote
from erprm.grading.extract import extract_answer
from erprm.grading.pool import GraderPool, GradingReport, Verdict
from erprm.problems import Problem

__all__ = ["GraderPool", "GradingReport", "Verdict", "extract_answer", "grade", "vote"]


def grade(prediction: str | None, gold: str | None, kind: str = "math",
          metadata: Mapping[str, Any] | None = None) -> bool:
    """Whether `prediction`, an answer or a whole solution's text, is right.

    Args:
        gold: the reference answer, or a reference solution that marks it with "####" or a box.
        kind: "math", "numeric", "exact", "choice", "reasoning-gym:TASK" or "python:MODULE:FUNCTION".
        metadata: what a task's verifier needs besides.

    Returns:
        False where either is None or empty. For many answers, use a `GraderPool`.

    Raises:
        InputError: for an unknown kind.
    """
    problem = Problem(id="", question="", answer=gold or "", grader=kind, metadata=metadata or {})
    return _pool().grade_many([(prediction or "", problem)])[0]


@functools.cache
def _pool() -> GraderPool:
    """One worker for single calls, shared by the program."""
    return GraderPool(workers=1)
