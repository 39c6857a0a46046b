"""Tasks that a policy can be taught: puzzles from reasoning-gym, with demonstrations of their steps.

Every step of a demonstration is valid. With the probability `wandering` it is chosen at random, else it leads towards a
solution where one can still be reached. A policy taught on these searches and often loses its way, so that the value of
a prefix is truly graded: what process rewards are for.
"""

from __future__ import annotations

import functools
import itertools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from erprm.errors import InputError
from erprm.problems.problem import Problem

ANSWER = "The answer is "
State = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """One family of problems.

    Attributes:
        name: reasoning-gym's name of the data set; "reasoning-gym:<name>" is the grader.
        options: the generator's options.
        question: the short form of the question, from an entry's metadata, that the policy is given.
        key: what makes two problems the same, from an entry's metadata.
        demonstrate: (metadata, random source, wandering) -> the steps of one demonstration, the answer last; None when
            the problem has no solution in the steps that the policy knows.
        words: the tokenizer's words besides the numbers 0 to 99 and single signs.
        max_tokens: an upper bound of a solution's length in tokens.
    """

    name: str
    options: Mapping[str, Any]
    question: Callable[[Mapping[str, Any]], str]
    key: Callable[[Mapping[str, Any]], object]
    demonstrate: Callable[[Mapping[str, Any], random.Random, float], list[str] | None]
    words: tuple[str, ...]
    max_tokens: int

    def splits(self, sizes: Mapping[str, int], seed: int, advance: Callable[[int], object] = lambda found: None,
               ) -> dict[str, list[Problem]]:
        """Disjoint lists of solvable problems, of the sizes asked for, from one stream of the generator.

        Args:
            sizes: problems per list.
            seed: of the generator; different seeds share no problem ids.
            advance: called with the number of problems found, as they are.

        Raises:
            InputError: when the generator has too few different problems.
        """
        import reasoning_gym

        wanted = sum(sizes.values())
        stream = reasoning_gym.create_dataset(self.name, size=20 * wanted, seed=seed * 1_000_003 + 1, **self.options)
        seen: set[object] = set()
        found: list[Problem] = []
        for index in range(20 * wanted):
            if len(found) == wanted:
                break
            entry = stream[index]
            metadata = entry["metadata"]
            key = self.key(metadata)
            if key in seen:
                continue
            seen.add(key)
            if self.demonstrate(metadata, random.Random(0), 0.0) is None:
                continue
            found.append(Problem(id=f"{self.name}-{seed}-{index}", question=self.question(metadata),
                                 answer=str(entry["answer"] or ""), grader=f"reasoning-gym:{self.name}",
                                 metadata=metadata))
            advance(1)
        if len(found) < wanted:
            raise InputError(f"{self.name}: expected {wanted} different problems, the generator gave {len(found)}")
        random.Random(seed).shuffle(found)
        stream_of_problems = iter(found)
        return {name: list(itertools.islice(stream_of_problems, size)) for name, size in sizes.items()}


def task(name: str) -> Task:
    """The task called `name`. Raises InputError."""
    if name not in TASKS:
        raise InputError(f"task: expected one of {', '.join(TASKS)}, found {name!r}")
    return TASKS[name]


# ---- countdown: combine all the numbers into the target, one operation a step ----


def _countdown_moves(state: State) -> list[tuple[int, str, int, int]]:
    """(i, operator, j, result) for every operation on two of the numbers; results are whole, in 0..99."""
    moves = []
    for i, j in itertools.permutations(range(len(state)), 2):
        a, b = state[i], state[j]
        results = [("-", a - b)]
        if i < j:
            results += [("+", a + b), ("*", a * b)]
        if b and a % b == 0:
            results.append(("/", a // b))
        moves += [(i, operator, j, result) for operator, result in results if 0 <= result < 100]
    return moves


def _without(state: State, i: int, j: int, result: int) -> State:
    return (result, *(number for k, number in enumerate(state) if k not in (i, j)))


@functools.cache
def _countdown_solvable(state: State, target: int) -> bool:
    """Whether the numbers (sorted) can reach the target."""
    if len(state) == 1:
        return state[0] == target
    return any(_countdown_solvable(tuple(sorted(_without(state, i, j, result))), target)
               for i, _, j, result in _countdown_moves(state))


def _countdown_demonstration(metadata: Mapping[str, Any], rng: random.Random, wandering: float) -> list[str] | None:
    state, target = tuple(metadata["numbers"]), metadata["target"]
    if not _countdown_solvable(tuple(sorted(state)), target):
        return None
    expressions = [str(number) for number in state]
    steps = []
    while len(state) > 1:
        moves = _countdown_moves(state)
        leading = [move for move in moves
                   if _countdown_solvable(tuple(sorted(_without(state, move[0], move[2], move[3]))), target)]
        wander = len(state) > 2 and rng.random() < wandering  # the last step is taken wherever it is there
        i, operator, j, result = rng.choice(moves if wander or not leading else leading)
        step = f"{state[i]}{operator}{state[j]}={result}"
        expressions = [f"({expressions[i]}{operator}{expressions[j]})",
                       *(text for k, text in enumerate(expressions) if k not in (i, j))]
        state = _without(state, i, j, result)
        steps.append(step + ">" + ",".join(map(str, state)))
    return [*steps, ANSWER + expressions[0][1:-1]]


# ---- graph colouring: give each vertex in turn one of the colours, so that no edge joins equal ones ----


def _colouring_demonstration(metadata: Mapping[str, Any], rng: random.Random, wandering: float) -> list[str] | None:
    puzzle = metadata["puzzle"]
    neighbours: dict[int, list[int]] = {vertex: [] for vertex in puzzle["vertices"]}
    for a, b in puzzle["edges"]:
        neighbours[a].append(b)
        neighbours[b].append(a)
    colours: dict[int, int] = {}
    for vertex in neighbours:
        options = rng.sample(list(puzzle["color_options"]), len(puzzle["color_options"]))
        leading = [colour for colour in options if _colourable(neighbours, options, {**colours, vertex: colour})]
        if not colours and not leading:
            return None
        wander = rng.random() < wandering
        colours[vertex] = options[0] if wander or not leading else leading[0]
    steps = [f"{vertex}={colour}" for vertex, colour in colours.items()]
    return [*steps, ANSWER + json.dumps({str(vertex): colour for vertex, colour in colours.items()},
                                        separators=(",", ":"))]


def _colourable(neighbours: Mapping[int, Sequence[int]], options: Sequence[int], colours: Mapping[int, int]) -> bool:
    """Whether the colouring so far is proper and can be completed."""
    if any(colours.get(other) == colour for vertex, colour in colours.items() for other in neighbours[vertex]):
        return False
    if len(colours) == len(neighbours):
        return True
    vertex = list(neighbours)[len(colours)]
    return any(_colourable(neighbours, options, {**colours, vertex: colour}) for colour in options)


TASKS = {
    "countdown": Task(
        name="countdown",
        options={"min_numbers": 4, "max_numbers": 4, "min_value": 1, "max_value": 9, "min_target": 10,
                 "max_target": 50},
        question=lambda entry: ",".join(map(str, entry["numbers"])) + ">" + str(entry["target"]),
        key=lambda entry: (tuple(sorted(entry["numbers"])), entry["target"]),
        demonstrate=_countdown_demonstration, words=(ANSWER,), max_tokens=56),
    "graph_color": Task(
        name="graph_color",
        options={"num_colors": 3, "min_num_vertices": 7, "max_num_vertices": 7, "edge_probability": 0.5},
        question=lambda entry: " ".join(f"{a}-{b}" for a, b in entry["puzzle"]["edges"]),
        key=lambda entry: str(entry["puzzle"]["edges"]),
        demonstrate=_colouring_demonstration, words=(ANSWER, '":', ',"', '{"'), max_tokens=64),
}
