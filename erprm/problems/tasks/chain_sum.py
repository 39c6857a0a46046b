"""Sums of several numbers, term by term: "12+34=46", each step going on from the last result.

A question reads "12+34-5". A wandering step is one or ten too high, which no later one mends, so that longer sums are
lost more often.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from erprm.problems.tasks.task import ANSWER, Metadata, Task

_STEP = re.compile(r"(-?\d+)([-+])(\d+)=(-?\d+)", re.ASCII)


def _terms(metadata: Metadata) -> list[int]:
    """With their signs."""
    return [int(sign + digits) for sign, digits in re.findall(r"([-+]?) *(\d+)", metadata["expression"])]


def _step(total: int, term: int, after: int) -> str:
    return f"{total}{term:+d}={after}"


def _demonstration(metadata: Metadata, rng: random.Random, wandering: float) -> list[str] | None:
    total, *rest = _terms(metadata)
    steps = []
    for term in rest:
        off = rng.choice((1, 10)) if rng.random() < wandering else 0
        steps.append(_step(total, term, total + term + off))
        total += term + off
    return [*steps, f"{ANSWER}{total}"]


def _first_wrong(metadata: Metadata, steps: Sequence[str]) -> int | None:
    total, *rest = _terms(metadata)
    for number, step in enumerate(steps):
        if step.startswith(ANSWER):
            return None if not rest and step == f"{ANSWER}{total}" else number
        if _STEP.fullmatch(step) is None or not rest or step != _step(total, rest[0], total + rest[0]):
            return number
        total += rest.pop(0)
    return None


CHAIN_SUM = Task(
    name="chain_sum", options={"min_terms": 4, "max_terms": 6, "min_digits": 2, "max_digits": 2},
    question=lambda entry: entry["expression"].replace(" ", ""), key=lambda entry: entry["expression"],
    demonstrate=_demonstration, first_wrong=_first_wrong, words=(ANSWER,), max_tokens=96, grader="exact")
