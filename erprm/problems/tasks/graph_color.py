"""Graph colouring: give each vertex in turn one of the colours, "4=2", so that no edge joins equal ones."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence

from erprm.problems.tasks.task import ANSWER, Metadata, Task

_STEP = re.compile(r"(\d+)=(\d+)", re.ASCII)


def _demonstration(metadata: Metadata, rng: random.Random, wandering: float) -> list[str] | None:
    puzzle = metadata["puzzle"]
    neighbours = _neighbours(metadata)
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


def _neighbours(metadata: Metadata) -> dict[int, list[int]]:
    neighbours: dict[int, list[int]] = {vertex: [] for vertex in metadata["puzzle"]["vertices"]}
    for a, b in metadata["puzzle"]["edges"]:
        neighbours[a].append(b)
        neighbours[b].append(a)
    return neighbours


def _first_wrong(metadata: Metadata, steps: Sequence[str]) -> int | None:
    neighbours, options = _neighbours(metadata), list(metadata["puzzle"]["color_options"])
    colours: dict[int, int] = {}
    for number, step in enumerate(steps):
        if step.startswith(ANSWER):
            stated = {str(vertex): colour for vertex, colour in colours.items()}
            return None if len(colours) == len(neighbours) and _read(step.removeprefix(ANSWER)) == stated else number
        match = _STEP.fullmatch(step)
        vertex, colour = map(int, match.groups()) if match else (-1, -1)
        in_turn = len(colours) < len(neighbours) and vertex == list(neighbours)[len(colours)]
        if not in_turn or colour not in options or not _colourable(neighbours, options, {**colours, vertex: colour}):
            return number
        colours[vertex] = colour
    return None


def _answer(metadata: Metadata) -> str:
    """One of the proper colourings."""
    steps = _demonstration(metadata, random.Random(0), 0.0)
    return "" if steps is None else steps[-1].removeprefix(ANSWER)


def _read(answer: str) -> object:
    try:
        return json.loads(answer)
    except ValueError:
        return None


GRAPH_COLOR = Task(
    name="graph_color",
    options={"num_colors": 3, "min_num_vertices": 7, "max_num_vertices": 7, "edge_probability": 0.5},
    question=lambda entry: " ".join(f"{a}-{b}" for a, b in entry["puzzle"]["edges"]),
    key=lambda entry: str(entry["puzzle"]["edges"]),
    demonstrate=_demonstration, first_wrong=_first_wrong, words=(ANSWER, '":', ',"', '{"'), max_tokens=64,
    answer=_answer)
