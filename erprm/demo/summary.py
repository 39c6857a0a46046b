"""Several runs of the demo as one: curves averaged over seeds, problem by problem, with the spread between seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from erprm.evaluation.curves import BestOfN, Line
from erprm.evaluation.figures import save_best_of_n
from erprm.files.json_files import read_json, write_json
from erprm.files.writing import atomic_write


def write_summary(folder: Path, runs: Sequence[Path]) -> Path:
    """`summary.json`, a table `summary.md` and one figure per task; returns the path of the table.

    Each selector's accuracy at the largest N is given as the mean over seeds, with the lowest and highest seed.
    """
    by_task: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        results = read_json(run / "results.json", "the same command writes it again")
        by_task.setdefault(results["task"], []).append(results)
    summary = {task: {"seeds": [results["seed"] for results in found],
                      "best_of_n": _spread(found).to_dict(),
                      "raft": {name: [results["raft"][name] for results in found] for name in ("before", "after")}}
               for task, found in by_task.items()}
    write_json(folder / "summary.json", summary)
    lines = []
    for task, found in by_task.items():
        table = _spread(found)
        save_best_of_n(folder / f"best_of_n-{task}.png", table, f"{task}, {len(found)} seeds")
        lines += [f"## {task}, {len(found)} seeds, N = {table.ns[-1]}", "",
                  "| selector | mean | lowest seed | highest seed |", "|---|---|---|---|"]
        lines += [f"| {name} | {line.accuracy[-1]:.3f} | {line.low[-1]:.3f} | {line.high[-1]:.3f} |"
                  for name, line in table.lines.items()]
        lines.append("")
    path = folder / "summary.md"
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return path


def _spread(runs: Sequence[dict[str, Any]]) -> BestOfN:
    """The mean over seeds, and the lowest and highest seed as `low` and `high`."""
    tables = [BestOfN.of_dict(results["best_of_n"]) for results in runs]
    lines = {}
    for name in tables[0].lines:
        values = np.array([table.lines[name].accuracy for table in tables])
        lines[name] = Line(*(tuple(column.tolist()) for column in (values.mean(0), values.min(0), values.max(0))))
    return BestOfN(tables[0].ns, lines)
