"""What the service is asked: the bodies of its requests, read and checked.

    solutions_of({"solutions": [{"question": "2+3*4?", "solution": "3*4=12\\n2+12=14"}]}, Limits())

A solution comes as a text, which `splitter` cuts, or in `steps`.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from erprm.errors import InputError
from erprm.policy.crediting import RewardOptions
from erprm.rows import StepRow, read_rows
from erprm.serving.limits import Limits
from erprm.steps import Steps, join_steps, split_steps
from erprm.values import Array


class RequestError(InputError):
    """A request that is refused, with the status code of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Solution:
    """One solution of a request; `outcome` is its graded outcome, for rewards."""

    question: str
    steps: Steps
    outcome: float | None = None

    @property
    def text(self) -> str:
        """As it was written."""
        return join_steps(self.steps)


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises RequestError."""
    try:
        record = json.loads(body.decode("utf-8"))
        if b"\\ud" in body.lower():
            json.dumps(record, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"body: expected a JSON object, found {' '.join(str(error).split())}") from error
    if not isinstance(record, dict):
        raise RequestError(400, f"body: expected a JSON object, found {type(record).__name__}")
    return record


def solutions_of(record: Mapping[str, Any], limits: Limits, others: tuple[str, ...] = ()) -> list[Solution]:
    """The solutions of a request.

    Args:
        record: {"solutions": [{"question", "solution" or "steps", "outcome"?}], "splitter"?}.
        others: fields that the record may hold besides.

    Raises:
        RequestError: 400 for what is malformed, 413 for more steps than the limit.
    """
    _known(record, ("solutions", "splitter", *others), "")
    items = record.get("solutions")
    if not isinstance(items, list) or not items:
        raise RequestError(400, f"solutions: expected a list of at least one, found {_kind(items)}")
    splitter = record.get("splitter", "newline")
    solutions = [_solution(item, splitter, f"solutions[{index}]") for index, item in enumerate(items)]
    steps = sum(len(solution.steps) for solution in solutions)
    if steps > limits.max_steps:
        raise RequestError(413, f"solutions: expected at most {limits.max_steps:,} steps in a request, found {steps:,}")
    return solutions


def reward_options_of(record: Mapping[str, Any]) -> RewardOptions:
    """The fields of a request that are `RewardOptions`. Raises RequestError."""
    values = {}
    for item in dataclasses.fields(RewardOptions):
        if item.name in record:
            value = record[item.name]
            kind: type[Any] = type(item.default)
            if not (isinstance(value, kind) or (kind is float and type(value) is int)):
                raise RequestError(400, f"{item.name}: expected {kind.__name__}, found {_kind(value)}")
            values[item.name] = kind(value)
    try:
        return RewardOptions(**values)
    except InputError as error:
        raise RequestError(400, str(error)) from error


def outcomes_of(solutions: list[Solution], options: RewardOptions) -> Array | None:
    """The graded outcomes [B] of a request; None where none is wanted. Raises RequestError."""
    if options.outcome_weight == 0.0:
        return None
    values = []
    for index, solution in enumerate(solutions):
        if solution.outcome is None:
            raise RequestError(400, f"solutions[{index}].outcome: expected a number, since outcome_weight is "
                                    f"{options.outcome_weight}, found none")
        values.append(solution.outcome)
    return np.array(values, np.float64)


def rows_of(body: bytes) -> list[StepRow]:
    """The rows of a file, in any form that `read_rows` reads, from its bytes. Raises RequestError."""
    with tempfile.NamedTemporaryFile(prefix="erprm-") as file:
        file.write(body)
        file.flush()
        try:
            rows = list(read_rows(file.name))
        except InputError as error:
            raise RequestError(400, str(error).replace(file.name, "file")) from error
    scored = [row for row in rows if row.scores is not None]
    if not scored:
        raise RequestError(422, f"file: expected solutions with scores, found {len(rows):,} without; score them first "
                                "(erprm score)")
    return rows


def _solution(item: Any, splitter: Any, where: str) -> Solution:
    if not isinstance(item, dict):
        raise RequestError(400, f"{where}: expected an object, found {_kind(item)}")
    _known(item, ("question", "solution", "steps", "outcome"), f"{where}.")
    question, text, steps, outcome = (item.get(name) for name in ("question", "solution", "steps", "outcome"))
    if not isinstance(question, str):
        raise RequestError(400, f"{where}.question: expected text, found {_kind(question)}")
    if (text is None) == (steps is None):
        found = "none" if text is None else "both"
        raise RequestError(400, f"{where}: expected a solution or its steps, found {found}")
    if outcome is not None and (isinstance(outcome, bool) or not isinstance(outcome, (int, float))
                                or not abs(outcome) < float("inf")):
        raise RequestError(400, f"{where}.outcome: expected a finite number, found {_kind(outcome)}")
    if steps is not None:
        if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
            raise RequestError(400, f"{where}.steps: expected a list of texts, found {_kind(steps)}")
        return Solution(question, Steps(steps, ("", *["\n"] * (len(steps) - 1), "") if steps else ("",)), outcome)
    if not isinstance(text, str):
        raise RequestError(400, f"{where}.solution: expected text, found {_kind(text)}")
    if not isinstance(splitter, str):
        raise RequestError(400, f"splitter: expected text, found {_kind(splitter)}")
    try:
        cut = split_steps(text, splitter)
    except InputError as error:
        raise RequestError(400, str(error)) from error
    return Solution(question, cut if text.strip() else Steps([], (text,)), outcome)


def _known(record: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in record:
        if name not in names:
            raise RequestError(400, f"{where}{name[:40]}: unknown field; known are {', '.join(names)}")


def _kind(value: Any) -> str:
    names = {type(None): "none", dict: "an object", list: "a list", str: "text", bool: "true or false",
             int: "a number", float: "a number"}
    return f"an empty {'list' if value == [] else 'text'}" if value in ([], "") else names[type(value)]
