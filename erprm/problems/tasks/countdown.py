"""Countdown: combine all the numbers into the target, one operation a step: "3*4=12>12,2"."""

from __future__ import annotations

import ast
import functools
import itertools
import operator
import random
import re
from collections.abc import Sequence
from fractions import Fraction

from erprm.problems.tasks.task import ANSWER, Metadata, Task

State = tuple[int, ...]
_STEP = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)>(\d+(?:,\d+)*)", re.ASCII)
_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_LONGEST = 200  # characters of an answer that is read


def _moves(state: State) -> list[tuple[int, str, int, int]]:
    """(i, sign, j, result) for every operation on two of the numbers; results are whole, in 0..99."""
    moves = []
    for i, j in itertools.permutations(range(len(state)), 2):
        moves += [(i, sign, j, result) for sign, result in _results(state[i], state[j]) if i < j or sign in "-/"]
    return moves


def _results(a: int, b: int) -> list[tuple[str, int]]:
    """(operator, result) of every operation on two numbers whose result is whole, in 0..99."""
    results = [("-", a - b), ("+", a + b), ("*", a * b)]
    if b and a % b == 0:
        results.append(("/", a // b))
    return [(sign, result) for sign, result in results if 0 <= result < 100]


def _without(state: State, i: int, j: int, result: int) -> State:
    return (result, *(number for k, number in enumerate(state) if k not in (i, j)))


@functools.cache
def _solvable(state: State, target: int) -> bool:
    """Whether the numbers (sorted) can reach the target."""
    if len(state) == 1:
        return state[0] == target
    return any(_solvable(tuple(sorted(_without(state, i, j, result))), target)
               for i, _, j, result in _moves(state))


def _demonstration(metadata: Metadata, rng: random.Random, wandering: float) -> list[str] | None:
    state, target = tuple(metadata["numbers"]), metadata["target"]
    if not _solvable(tuple(sorted(state)), target):
        return None
    expressions = [str(number) for number in state]
    steps = []
    while len(state) > 1:
        moves = _moves(state)
        leading = [move for move in moves
                   if _solvable(tuple(sorted(_without(state, move[0], move[2], move[3]))), target)]
        wander = len(state) > 2 and rng.random() < wandering  # the last step is taken wherever it is there
        i, sign, j, result = rng.choice(moves if wander or not leading else leading)
        step = f"{state[i]}{sign}{state[j]}={result}"
        expressions = [f"({expressions[i]}{sign}{expressions[j]})",
                       *(text for k, text in enumerate(expressions) if k not in (i, j))]
        state = _without(state, i, j, result)
        steps.append(step + ">" + ",".join(map(str, state)))
    return [*steps, ANSWER + expressions[0][1:-1]]


def _first_wrong(metadata: Metadata, steps: Sequence[str]) -> int | None:
    state, target = tuple(sorted(metadata["numbers"])), metadata["target"]
    for number, step in enumerate(steps):
        if step.startswith(ANSWER):
            return None if len(state) == 1 and _reaches(step.removeprefix(ANSWER), metadata) else number
        after = _after(state, step)
        if after is None or not _solvable(after, target):
            return number
        state = after
    return None


def _after(state: State, step: str) -> State | None:
    """The sorted numbers after a step; None where it is no operation on two of them."""
    match = _STEP.fullmatch(step)
    if match is None:
        return None
    a, b, result = (int(match[group]) for group in (1, 3, 4))
    rest = list(state)
    for used in (a, b):
        if used not in rest:
            return None
        rest.remove(used)
    if (match[2], result) not in _results(a, b):
        return None
    after = tuple(sorted((result, *rest)))
    return after if after == tuple(sorted(map(int, match[5].split(",")))) else None


def _reaches(expression: str, metadata: Metadata) -> bool:
    """Whether the answer uses the numbers, each once, and equals the target."""
    if len(expression) > _LONGEST:
        return False
    try:
        used: list[int] = []
        value = _value(ast.parse(expression, mode="eval").body, used)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return False
    return value == metadata["target"] and sorted(used) == sorted(metadata["numbers"])


def _value(node: ast.expr, used: list[int]) -> Fraction:
    """The value of numbers joined by + - * /; `used` collects the numbers. Raises ValueError for anything else."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used.append(node.value)
        return Fraction(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = _value(node.left, used), _value(node.right, used)
        return Fraction(_OPERATIONS[type(node.op)](left, right))
    raise ValueError("expected numbers joined by + - * /")


COUNTDOWN = Task(
    name="countdown",
    options={"min_numbers": 4, "max_numbers": 4, "min_value": 1, "max_value": 9, "min_target": 10, "max_target": 50},
    question=lambda entry: ",".join(map(str, entry["numbers"])) + ">" + str(entry["target"]),
    key=lambda entry: (tuple(sorted(entry["numbers"])), entry["target"]),
    demonstrate=_demonstration, first_wrong=_first_wrong, words=(ANSWER,), max_tokens=56)
