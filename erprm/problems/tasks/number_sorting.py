"""Sorting by selection: each step takes the next number out, "3>14,52", and the answer lists them in order.

A question reads "14,3,52>+" for ascending order, "14,3,52>-" for descending.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from erprm.problems.tasks.task import ANSWER, Metadata, Task

_STEP = re.compile(r"(\d+)>((?:\d+(?:,\d+)*)?)", re.ASCII)


def _numbers(metadata: Metadata) -> list[int]:
    return [int(float(number)) for number in metadata["original_numbers"]]


def _next(rest: Sequence[int], metadata: Metadata) -> int:
    return min(rest) if metadata["direction"] == "ascending" else max(rest)


def _joined(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _answer(metadata: Metadata) -> str:
    return _joined(sorted(_numbers(metadata), reverse=metadata["direction"] != "ascending"))


def _demonstration(metadata: Metadata, rng: random.Random, wandering: float) -> list[str] | None:
    rest, taken, steps = _numbers(metadata), [], []
    while rest:
        number = rng.choice(rest) if rng.random() < wandering else _next(rest, metadata)
        rest.remove(number)
        taken.append(number)
        steps.append(f"{number}>{_joined(rest)}")
    return [*steps, ANSWER + _joined(taken)]


def _first_wrong(metadata: Metadata, steps: Sequence[str]) -> int | None:
    rest = _numbers(metadata)
    for number, step in enumerate(steps):
        if step.startswith(ANSWER):
            return None if not rest and step.removeprefix(ANSWER) == _answer(metadata) else number
        match = _STEP.fullmatch(step)
        if match is None or not rest or int(match[1]) != _next(rest, metadata):
            return number
        rest.remove(int(match[1]))
        if sorted(map(int, filter(None, match[2].split(",")))) != sorted(rest):
            return number
    return None


NUMBER_SORTING = Task(
    name="number_sorting",
    options={"min_numbers": 6, "max_numbers": 6, "min_decimals": 0, "max_decimals": 0, "min_value": 0.0,
             "max_value": 99.0},
    question=lambda entry: _joined(_numbers(entry)) + (">+" if entry["direction"] == "ascending" else ">-"),
    key=lambda entry: (tuple(entry["original_numbers"]), entry["direction"]),
    demonstrate=_demonstration, first_wrong=_first_wrong, words=(ANSWER,), max_tokens=72, answer=_answer,
    grader="exact")
