"""Step scores of a benchmark from a file, as models' authors publish them: a JSON object per solution.

    {"id": "gsm8k-0", "scores": [0.98, 0.91, 0.12]}

    rows = list(read("gsm8k.jsonl", "processbench"))
    scores = read_scores("scores.jsonl", rows, "gsm8k.jsonl")          # [L] each, in the order of the rows

Any file that `erprm.files.records` reads will do, in any order; every solution has to be there once, with one score per
step, empty steps included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from erprm.errors import InputError
from erprm.files.records import read_records
from erprm.rows import StepRow
from erprm.values import Array


def read_scores(path: str | Path, rows: Sequence[StepRow], benchmark: str) -> list[Array]:
    """The scores of every row, float64 [L] each.

    Args:
        rows: of the benchmark, with `solution_id`.
        benchmark: the file they are from, for messages.

    Raises:
        InputError: for an id that is missing, unknown or given twice, another number of scores than steps, or scores
            that are no numbers in [0, 1].
    """
    steps: dict[str, int] = {}
    for row in rows:
        if not row.solution_id or row.solution_id in steps:
            raise InputError(f"{benchmark}: expected a different id for every solution, found "
                             + (f"{row.solution_id!r} twice" if row.solution_id else "one without"))
        steps[row.solution_id] = len(row.steps)
    found: dict[str, Array] = {}
    lines: dict[str, int] = {}
    for number, record in read_records(path):
        name = _id(record, f"{path}:{number}")
        where = f"{path}:{number}: id {name!r}"
        if name not in steps:
            raise InputError(f"{where}: {benchmark} has no such solution")
        if name in lines:
            raise InputError(f"{where}: given twice, first in line {lines[name]}")
        lines[name] = number
        found[name] = _scores(record.get("scores"), steps[name], where)
    missing = [name for name in steps if name not in found]
    if missing:
        raise InputError(f"{path}: expected scores for every solution of {benchmark}, found none for {len(missing):,} "
                         f"of {len(steps):,}; the first is {missing[0]!r}")
    return [found[row.solution_id] for row in rows]


def _id(record: Mapping[str, Any], where: str) -> str:
    name = record.get("id")
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise InputError(f"{where}: id: expected the id of a solution, found {name!r:.40}")
    return str(name)


def _scores(given: Any, length: int, where: str) -> Array:
    if not isinstance(given, (list, tuple)) or any(isinstance(score, bool) or not isinstance(score, (int, float))
                                                   for score in given):
        raise InputError(f"{where}: scores: expected a list of numbers, found {given!r:.60}")
    if len(given) != length:
        raise InputError(f"{where}: expected {length} scores, one per step, found {len(given)}")
    outside = [score for score in given if not 0.0 <= score <= 1.0]
    if outside:
        raise InputError(f"{where}: scores: expected numbers in [0, 1], found {outside[0]!r:.40}")
    return np.array(given, np.float64)
