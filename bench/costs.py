"""What each way to use checkable answers costs: labelling, training, memory; and GRPO for the seconds a PRM takes.

    erprm study --out runs/study --only 'countdown/*/*/prm-0'
    python bench/costs.py --study runs/study --out runs/costs --output bench/results/costs.json

On policies of a study, each command a process of its own, whose wall time and peak resident memory are kept:

- `erprm label` on a few problems and on more: seconds a generated token from their difference, times the tokens of the
  study's whole store;
- `erprm train` of each target, a short and a longer run: seconds a step from their difference, evaluations not
  counted, times the study's steps;
- `erprm grpo` paid by right and wrong alone, without any reward model, for as many steps as fit into the seconds that
  soft labels and their reward model take together; then solutions of its policy to the held-out problems.

Reward models' accuracies are those of the study's cells, on the same policies and problems. What is there already is
not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from real import run

from erprm.demo.commands import Command
from erprm.demo.recipe import Lab
from erprm.grading.graders import ballot
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow, read_rows
from erprm.selection import majority_by_problem
from erprm.statistics.bootstrap import bootstrap_interval
from erprm.study.cells import Learnt, read_cell
from erprm.study.label_sets import training_rows
from erprm.study.run import StudySettings


def timed(record: Path, command: Command) -> dict[str, float]:
    """Seconds and peak memory in bytes of the command's process, from the record or measured now."""
    stage = run(record, [sys.executable, "-m", "erprm", command.name, *command.arguments])
    return {"seconds": stage.seconds, "peak_memory": stage.peak_memory}


def by_step(folder: Path, steps: tuple[int, int], command: Callable[[int, Path], Command]) -> dict[str, float]:
    """Seconds a step, without what every run takes, and the longer run's peak memory."""
    short, long = (timed(folder / f"{number}.json", command(number, folder / str(number))) for number in steps)
    return {"seconds_per_step": (long["seconds"] - short["seconds"]) / (steps[1] - steps[0]),
            "peak_memory": long["peak_memory"]}


def costs(lab: Lab, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Of one policy."""
    folder.mkdir(parents=True, exist_ok=True)
    _, tokens = training_rows(lab, "all")
    whole = _completion_tokens(lab.folder / "labels")
    found: dict[str, Any] = {"tokens": tokens, "completion_tokens": whole, "training": {},
                             "labelling": _labelling(lab, folder.resolve(), (given.problems // 4, given.problems),
                                                     whole)}
    for target in given.targets:
        options = Learnt.of(target).options(given.etas)
        found["training"][target] = by_step(folder / target, (given.steps // 4, given.steps), lambda number, out: (
            lab.trained(out, lab.rows, 0, max_steps=number, evaluations=1, **options)))  # noqa: B023  (called at once)
    budget = found["labelling"]["seconds"] + given.prm_steps * found["training"]["soft"]["seconds_per_step"]
    rate = by_step(folder / "grpo", (4, 16), lambda number, out: _grpo(lab, out, number))
    if not 0 < rate["seconds_per_step"] <= budget:
        raise SystemExit(f"{folder}: expected a step of GRPO to take between 0 and {budget:.0f} s, found "
                         f"{rate['seconds_per_step']:.3f}: other work ran beside the short runs; remove grpo/ there")
    steps = int(budget / rate["seconds_per_step"])
    improved = folder / "grpo" / "policy"
    spent = timed(improved.with_suffix(".json"), _grpo(lab, improved, steps))
    pool = folder / "pool-grpo.parquet"
    if not pool.is_file():
        Command("sample", ("--problems", str(lab.problems("heldout")), "--policy", str(improved), "--n",
                           str(lab.settings.pool), "--max-tokens", str(lab.task.max_tokens), "--seed",
                           str(lab.settings.seed + 8), "--out", str(pool)))()
    return found | {"grpo": rate | {"steps": steps, "seconds": spent["seconds"], "budget": budget,
                                    **_accuracy(pool)}, "before": _accuracy(lab.folder / "pool.parquet")}


def _labelling(lab: Lab, folder: Path, problems: tuple[int, int], tokens: int) -> dict[str, float]:
    """Seconds for so many generated tokens, without what every run takes, and the larger run's peak memory."""
    runs = [(timed(folder / f"label-{limit}.json", lab.labelled(
        "label", "solutions", lab.settings.completions, str(folder / f"labels-{limit}"), limit=limit)),
        _completion_tokens(folder / f"labels-{limit}")) for limit in problems]
    (few, written), (more, in_all) = runs
    return {"seconds": (more["seconds"] - few["seconds"]) / (in_all - written) * tokens,
            "peak_memory": more["peak_memory"]}


def _completion_tokens(labels: Path) -> int:
    return sum(sum(table["tokens"].to_pylist()) for table in read_parts(labels, ["tokens"]))


def _grpo(lab: Lab, out: Path, steps: int) -> Command:
    return Command("grpo", (
        "--policy", str(lab.model("policy")), "--problems", str(lab.problems("label")), "--out", str(out), "--n", "8",
        "--outcome-weight", "1", "--max-tokens", str(lab.task.max_tokens), "--max-steps", str(steps),
        "--learning-rate", "5e-5", "--seed", str(lab.settings.seed)))


def _accuracy(pool: Path) -> dict[str, list[float]]:
    """[P] each: of one solution, and of the answer that most of all vote for."""
    problems: dict[str, list[StepRow]] = {}
    for row in read_rows(pool):
        problems.setdefault(row.problem_key, []).append(row)
    correct = np.array([[float(row.outcome == 1.0) for row in rows] for rows in problems.values()])
    votes = majority_by_problem([[ballot(row) for row in rows] for rows in problems.values()], correct,
                                [correct.shape[1]])
    return {"one": correct.mean(axis=1).tolist(), "majority": votes[:, 0].tolist()}


def best_of_n(cells: Path) -> dict[str, list[float]]:
    """By reward the study's accuracy with the largest N, [P], of this policy and the first reward model."""
    found = {}
    for path in sorted(cells.glob("*/prm-0.json")):
        result, _ = read_cell(path)
        found |= {name: column.by_problem.tolist() for name, column in result.columns.items()}
    return found


def figure(parts: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Of problems of several policies: mean, interval over problems, and by policy."""
    low, high = bootstrap_interval(np.concatenate([np.array(part) for part in parts]))
    return {"mean": float(np.mean([np.mean(part) for part in parts])), "low": float(low), "high": float(high),
            "by_policy": [float(np.mean(part)) for part in parts]}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="folder of a study; only read")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is made here")
    parser.add_argument("--output", type=Path, help="result file")
    parser.add_argument("--task", default="countdown")
    parser.add_argument("--policies", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--targets", nargs="+", default=["outcome", "soft", "hard", "er@2", "er"])
    parser.add_argument("--etas", type=float, nargs="+", default=StudySettings().etas)
    parser.add_argument("--problems", type=int, default=60, help="of the larger labelling")
    parser.add_argument("--prm-steps", type=int, default=StudySettings().demo.prm_steps, help="of the study")
    parser.add_argument("--steps", type=int, default=200, help="of the longer training")
    given = parser.parse_args(words)
    given.etas = tuple(given.etas)
    found, cells = [], []
    for policy in given.policies:
        found.append(costs(common.study_lab(given.study, given.task, policy), given.out / str(policy), given))
        cells.append(best_of_n(given.study / "cells" / given.task / f"policy-{policy}"))
    result: dict[str, Any] = {
        "environment": common.environment(), "task": given.task, "policies": given.policies,
        "tokens": [one["tokens"] for one in found], "completion_tokens": [one["completion_tokens"] for one in found],
        "labelling": _means([one["labelling"] for one in found]),
        "training": {target: _means([one["training"][target] for one in found])
                     | {"seconds": given.prm_steps * float(np.mean([
                         one["training"][target]["seconds_per_step"] for one in found]))} for target in given.targets},
        "grpo": _means([{name: value for name, value in one["grpo"].items() if name not in ("one", "majority")}
                        for one in found]),
        "accuracy": {"before": {name: figure([one["before"][name] for one in found]) for name in ("one", "majority")},
                     "grpo": {name: figure([one["grpo"][name] for one in found]) for name in ("one", "majority")},
                     "best_of_n": {name: figure([part[name] for part in cells]) for name in cells[0]
                                   if all(name in part for part in cells)}}}
    print(json.dumps({name: result[name] for name in ("labelling", "training", "grpo", "accuracy")}, indent=1))
    common.write_result(given.output, result)


def _means(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}


if __name__ == "__main__":
    main()
