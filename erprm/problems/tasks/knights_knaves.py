"""Knights and knaves: who tells the truth? Each person in turn is called a knight, "0+", or a knave, "0-".

A question reads "0:=(0+,1+) 1:0+": person 0 says that 0 is a knight if and only if 1 is. Its puzzles have one solution.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

from erprm.problems.tasks.task import ANSWER, Metadata, Task

_SIGNS = {"<=>": "=", "and": "&", "or": "|", "->": ">", "not": "!"}
_ROLES = {True: "+", False: "-"}


def _text(statement: Sequence[Any]) -> str:
    """A statement in prefix form."""
    kind, *parts = statement
    if kind in ("telling-truth", "lying"):
        return f"{parts[0]}{_ROLES[kind == 'telling-truth']}"
    return f"{_SIGNS[kind]}({','.join(map(_text, parts))})"


def _holds(statement: Sequence[Any], knights: Sequence[bool]) -> bool:
    """Whether a statement is true when these are the knights."""
    kind, *parts = statement
    if kind in ("telling-truth", "lying"):
        return bool(knights[parts[0]] == (kind == "telling-truth"))
    values = [_holds(part, knights) for part in parts]
    if kind == "not":
        return not values[0]
    if kind == "->":
        return not values[0] or values[1]
    if kind == "<=>":
        return values[0] == values[1]
    return all(values) if kind == "and" else any(values)


def _possible(metadata: Metadata, knights: Sequence[bool]) -> bool:
    """Whether the roles of the first persons can be completed so that knights alone tell the truth."""
    statements = metadata["statements"]
    rest = itertools.product((True, False), repeat=len(statements) - len(knights))
    return any(all(_holds(statement, roles) == roles[person] for person, statement in enumerate(statements))
               for roles in ((*knights, *others) for others in rest))


def _answer(metadata: Metadata) -> str:
    return ",".join(f"{person}{_ROLES[bool(knight)]}" for person, knight in enumerate(metadata["solution"]))


def _demonstration(metadata: Metadata, rng: random.Random, wandering: float) -> list[str] | None:
    knights: list[bool] = []
    for _ in metadata["statements"]:
        options = rng.sample([True, False], 2)
        leading = [role for role in options if _possible(metadata, [*knights, role])]
        knights.append(options[0] if rng.random() < wandering or not leading else leading[0])
    steps = [f"{person}{_ROLES[role]}" for person, role in enumerate(knights)]
    return [*steps, ANSWER + ",".join(steps)]


def _first_wrong(metadata: Metadata, steps: Sequence[str]) -> int | None:
    knights: list[bool] = []
    for number, step in enumerate(steps):
        if step.startswith(ANSWER):
            return None if step.removeprefix(ANSWER) == _answer(metadata) else number
        roles = {f"{len(knights)}{sign}": role for role, sign in _ROLES.items()}
        if len(knights) == len(metadata["statements"]) or step not in roles \
                or not _possible(metadata, [*knights, roles[step]]):
            return number
        knights.append(roles[step])
    return None


KNIGHTS_KNAVES = Task(
    name="knights_knaves",
    options={"n_people": 5, "depth_constraint": 2, "width_constraint": 2},
    question=lambda entry: " ".join(f"{person}:{_text(said)}" for person, said in enumerate(entry["statements"])),
    key=lambda entry: str(entry["statements"]),
    demonstrate=_demonstration, first_wrong=_first_wrong, words=(ANSWER, "&", "|", "!"), max_tokens=40, answer=_answer,
    grader="exact")
