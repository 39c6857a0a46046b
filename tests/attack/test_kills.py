"""Every command that writes, killed, interrupted, terminated or out of disk, goes on to the same result.

A few disturbances are tried here; where ERPRM_ATTACK is set (`make attack`) forty kills of each command, evenly spaced
over its changes to files, or all where there are fewer, and as many of the others.
"""

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from attack.counts import LONG, attempt
from attack.kill import Case, Nursery, goes_on, survives

from erprm.files.writing import locked
from erprm.judging.verdicts import verdict_row
from erprm.problems import Problem, write_problems
from erprm.problems.tasks import TASKS
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow, read_rows, write_rows

_MORE_MODULES = ("erprm.cli.raft", "erprm.cli.dpo", "erprm.cli.sft", "erprm.cli.judge", "erprm.cli.filter",
                 "erprm.cli.grade", "erprm.cli.export", "erprm.cli.train", "erprm.cli.evaluate", "erprm.policy.raft",
                 "erprm.policy.dpo", "erprm.prm.export", "erprm.cli.grpo", "erprm.cli.search_bench", "erprm.cli.audit",
                 "erprm.policy.grpo", "erprm.policy.reward", "erprm.evaluation.search_bench", "erprm.selection.methods",
                 "trl.trainer.grpo_trainer", "erprm.prm.training.saving", "erprm.evaluation.report",
                 "erprm.evaluation.diagnostics", "erprm.judging.consensus", "erprm.problems.tasks", "datasets",
                 "trl.trainer.sft_trainer", "trl.trainer.dpo_trainer", "matplotlib.backends.backend_agg",
                 "matplotlib.pyplot", "scipy.stats", "erprm.cli.demo", "erprm.cli.study", "erprm.study.run",
                 "reasoning_gym")
_PROBLEMS = [Problem(id=f"p{i}", question=f"{i}+1?", answer=str(i + 1), grader="numeric") for i in range(3)]


@pytest.fixture(scope="module")
def nursery(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("kills") / "log", str(model_dir), "erprm.cli.sample", "erprm.cli.guide",
                 "erprm.cli.score", "erprm.cli.convert", "erprm.prm.scoring.scorer", "erprm.rollouts.sample",
                 "erprm.selection.beam", "erprm.selection.files", "pyarrow.pandas_compat", *_MORE_MODULES) as nursery:
        yield nursery


def _prepare(folder: Path) -> None:
    write_problems(folder / "problems.jsonl", _PROBLEMS)
    write_rows(folder / "rows.jsonl", [
        StepRow(prompt=problem.question, steps=steps, outcome=0.0, problem_id=problem.id)
        for problem in _PROBLEMS for steps in (("a", "b"), ("a", "c"))])


def _left(folder: Path) -> dict[str, Any]:
    """Every file's name, and what the rows files say."""
    files = {str(path.relative_to(folder)): None for path in folder.rglob("*") if path.is_file()}
    return files | {name: list(read_rows(folder / name)) for name in files
                    if name.endswith(("out.jsonl", "out.parquet", "rows.parquet"))}


def _results_are_whole(folder: Path) -> None:
    for path in (folder / "out.jsonl", folder / "labels" / "rows.parquet"):
        if path.exists():
            assert list(read_rows(path))


@pytest.mark.parametrize(("command", "options"), [
    ("sample", ("--n", "2", "--out", "{}/out.jsonl")),
    ("label", ("--solutions", "{}/rows.jsonl", "--n", "2", "--contrast", "1", "--out", "{}/labels")),
    ("guide", ("--width", "1", "--expand", "2", "--max-steps", "1", "--part-problems", "2", "--out", "{}/out.jsonl")),
])
def test_a_kill_at_any_change_loses_nothing(command: str, options: tuple[str, ...], nursery: Nursery, model_dir: Path,
                                            prm_dir: Path, tmp_path: Path) -> None:
    more = ["--prm", str(prm_dir)] if command == "guide" else []

    def argv(folder: Path) -> list[str]:
        return [command, "--problems", str(folder / "problems.jsonl"), "--policy", str(model_dir), "--device", "cpu",
                "--max-tokens", "4", "--workers", "1", "--part-completions", "3", *more,
                *(text.format(folder) for text in options)]

    assert survives(nursery, Case(command, _prepare, argv, _left, _results_are_whole), tmp_path) >= 4


def test_looking_for_first_errors_survives_as_well(nursery: Nursery, model_dir: Path, tmp_path: Path) -> None:
    """Rounds depend on all counts so far, so that a run that was killed may go on in other places; what it ends with
    is whole: no completion twice, samples numbered without gaps, every count in the rows one of the store's."""
    def argv(folder: Path) -> list[str]:
        return ["label", "--problems", str(folder / "problems.jsonl"), "--policy", str(model_dir), "--device", "cpu",
                "--max-tokens", "4", "--workers", "1", "--part-completions", "3", "--solutions",
                str(folder / "rows.jsonl"), "--find", "first-error", "--n", "2", "--confidence", "0.99",
                "--no-count-passing", "--out", str(folder / "labels")]

    def left(folder: Path) -> list[bool]:
        samples: dict[str, list[int]] = {}
        for table in read_parts(folder / "labels", ["prefix_id", "sample"]):
            for record in table.to_pylist():
                samples.setdefault(record["prefix_id"], []).append(record["sample"])
        rows = list(read_rows(folder / "labels" / "rows.parquet"))
        asked = {(row.problem_id, row.steps[0]): row.trials[0] for row in rows if row.trials}
        return [all(sorted(numbers) == list(range(len(numbers))) for numbers in samples.values()),
                sum(asked.values()) == sum(map(len, samples.values())), max(asked.values()) <= 2, len(rows) == 6]

    case = Case("find", _prepare, argv, left, _results_are_whole, 3)
    assert survives(nursery, case, tmp_path) >= 2
    assert all(left(tmp_path / "find-undisturbed"))


@pytest.mark.parametrize(("command", "suffix"), [("score", "jsonl"), ("convert", "jsonl"), ("convert", "parquet")])
def test_scoring_and_converting_survive_too(command: str, suffix: str, nursery: Nursery, prm_dir: Path,
                                            tmp_path: Path) -> None:
    options = {"score": ["--model", str(prm_dir), "--device", "cpu", "--part-rows", "2", "--rows"],
               "convert": ["--from", "erprm", "--to", "erprm", "--input"]}[command]

    def argv(folder: Path) -> list[str]:
        return [command, *options, str(folder / "rows.jsonl"), "--out", str(folder / f"out.{suffix}")]

    assert survives(nursery, Case(command, _prepare, argv, _left, _results_are_whole), tmp_path) >= 2


@pytest.fixture(scope="module")
def models(model_dir: Path, prm_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A policy, one that writes the digits 1 and 2 and line ends, and a PRM, by the names that `_WRITERS` has."""
    return {"policy": str(model_dir), "prm": str(prm_dir),
            "writer": str(tiny.writer(tmp_path_factory.mktemp("writer"), "12\n</s>"))}


def _prepare_solutions(folder: Path) -> None:
    """Solutions of puzzles with counts, outcomes, scores and verdicts, half of them with a wrong step; sums."""
    task, draw = TASKS["number_sorting"], random.Random(5)
    puzzles = task.splits({"all": 3}, 1)["all"]
    rows, verdicts = [], []
    for problem in puzzles:
        for share in (0.0, 1.0):
            steps = tuple(task.demonstrate(problem.metadata, draw, share) or ())
            wrong = task.first_wrong(problem.metadata, steps)
            good = len(steps) if wrong is None else wrong
            row = StepRow(problem.question, steps, problem_id=problem.id, solution_id=f"{problem.id}/{share}",
                          successes=tuple(2 * (step < good) for step in range(len(steps))), trials=(2,) * len(steps),
                          outcome=float(wrong is None), answer=str(share), finished=True)
            rows.append(replace(row, scores=tuple(0.9 - 0.1 * share for _ in steps)))
            verdicts.append(verdict_row(row, wrong, "program"))
    write_problems(folder / "puzzles.jsonl", puzzles)
    write_rows(folder / "rows.jsonl", rows)
    write_rows(folder / "verdicts.jsonl", verdicts)
    write_problems(folder / "problems.jsonl", _PROBLEMS)
    write_rows(folder / "sums.jsonl", [StepRow(problem.question, (f"The answer is {answer}",), problem_id=problem.id)
                                       for problem in _PROBLEMS for answer in (1, 2)])
    write_rows(folder / "graded.jsonl", [StepRow("half?", (f"The answer is {answer}",), gold="0.5")
                                         for answer in ("0.5", "1/2", "2")])


_TRAINING = ("--max-steps", "1", "--batch-size", "4", "--warmup-steps", "0")
_WRITERS: dict[str, tuple[str, ...]] = {
    "judge": ("--rows", "{}/rows.jsonl", "--problems", "{}/puzzles.jsonl", "--out", "{}/out.parquet"),
    "filter": ("--rows", "{}/rows.jsonl", "--consensus", "{}/verdicts.jsonl", "--out", "{}/out.jsonl"),
    "grade": ("--rows", "{}/sums.jsonl", "--problems", "{}/problems.jsonl", "--workers", "1", "--out",
              "{}/out.jsonl"),
    "audit": ("--input", "{}/graded.jsonl", "--graders", "exact", "numeric", "--workers", "1", "--out",
              "{}/out.jsonl"),
    "search-bench": ("--problems", "{}/problems.jsonl", "--policy", "{writer}", "--prm", "{prm}", "--device",
                     "cpu", "--ns", "2", "--methods", "best-of-n", "--max-steps", "1", "--max-tokens", "4",
                     "--workers", "1", "--part-problems", "2", "--out", "{}/new"),
    "evaluate": ("--scored", "{}/rows.jsonl", "--out", "{}/new"),
    "export": ("--model", "{prm}", "--probe", "1", "--out", "{}/new"),
    "sft": ("--model", "{policy}", "--data", "{}/rows.jsonl", *_TRAINING, "--out", "{}/new"),
    "dpo": ("--policy", "{policy}", "--solutions", "{}/rows.jsonl", *_TRAINING, "--out", "{}/new"),
    "grpo": ("--policy", "{writer}", "--problems", "{}/problems.jsonl", "--outcome-weight", "1", "--n", "2",
             "--max-tokens", "4", "--workers", "1", "--max-steps", "1", "--batch-size", "2", "--warmup-steps", "0",
             "--out", "{}/new"),
    "raft": ("--policy", "{writer}", "--prm", "{prm}", "--problems", "{}/problems.jsonl", "--heldout",
             "{}/problems.jsonl", "--answer", "last-number", "--max-tokens", "4", "--iterations", "1", "--n", "4",
             "--heldout-n", "2", "--device", "cpu", "--workers", "1", "--part-completions", "8", *_TRAINING,
             "--out", "{}/new"),
    "train": ("--model", "{policy}", "--data", "{}/rows.jsonl", "--max-steps", "2", "--save-steps", "1", "--batch-size",
              "4", "--out", "{}/new"),
}


def _said(folder: Path) -> dict[str, bytes | None]:
    """Every file's bytes; of stores and pickled arguments, which hold folders' names and times, their names alone.

    Without the locks of stores: one that a dead process left keeps nobody out.
    """
    def content(path: Path) -> bytes | None:
        if path.name == "whole.json":  # the sizes of a checkpoint's files, pickles among them
            return repr([item for item in json.loads(path.read_text()).items() if ".bin" not in item[0]]).encode()
        return None if path.suffix == ".bin" or ".store/" in str(path) else path.read_bytes()

    return {str(path.relative_to(folder)): content(path) for path in folder.rglob("*")
            if path.is_file() and not str(path).endswith(".store/lock")}


@pytest.mark.parametrize("command", _WRITERS)
def test_every_other_command_survives_too(command: str, nursery: Nursery, models: dict[str, str],
                                          tmp_path: Path) -> None:
    options = _WRITERS[command]

    def argv(folder: Path) -> list[str]:
        return [command, *(text.format(folder, **models) for text in options)]

    case = Case(command, _prepare_solutions, argv, _said,
                refused="expected a new folder, found that it exists" if command == "export" else "")
    assert survives(nursery, case, tmp_path) >= 3


def test_a_model_that_grades_judges_nothing_twice(nursery: Nursery, models: dict[str, str], tmp_path: Path) -> None:
    def prepare(folder: Path) -> None:
        _prepare_solutions(folder)
        (folder / "ask.txt").write_text("{question}\n{solution}\nRight?")

    def argv(folder: Path) -> list[str]:
        return ["grade", "--rows", f"{folder}/sums.jsonl", "--problems", f"{folder}/problems.jsonl", "--workers", "1",
                "--grader", f"accuracy*0.5 + judge:{folder}/ask.txt*0.5", "--judge-policy", models["writer"],
                "--judge-pattern", "(1)", "--judge-max-tokens", "8", "--judge-malformed", "1", "--judge-store",
                f"{folder}/judge.store", "--out", f"{folder}/out.jsonl"]

    def left(folder: Path) -> tuple[list[float | None], list[tuple[str, int, str]]]:
        answers = [(record["prefix_id"], record["sample"], record["text"]) for table in
                   read_parts(folder / "judge.store") for record in table.to_pylist()]
        return [row.outcome for row in read_rows(folder / "out.jsonl")], sorted(answers)

    case = Case("judge-grader", prepare, argv, left, _results_are_whole, 3)
    assert survives(nursery, case, tmp_path) >= 3
    outcomes, answers = left(tmp_path / "judge-grader-undisturbed")
    assert len({key for key, _, _ in answers}) == len(answers) == len(outcomes) == 6


@pytest.mark.parametrize("command", [*_WRITERS, "demo", "score", "convert"])
def test_a_second_process_is_refused(command: str, nursery: Nursery, models: dict[str, str], tmp_path: Path) -> None:
    options = {"demo": ("--smoke", "--out", "{}/new"),
               "score": ("--model", "{prm}", "--rows", "{}/rows.jsonl", "--device", "cpu", "--out", "{}/out.jsonl"),
               "convert": ("--from", "erprm", "--to", "erprm", "--input", "{}/rows.jsonl", "--out", "{}/out.jsonl"),
               **_WRITERS}[command]
    argv = [command, *(text.format(tmp_path, **models) for text in options)]
    _prepare_solutions(tmp_path)
    with attempt("second writers"), locked(argv[argv.index("--out") + 1]):
        status, said = nursery.said(argv)
        assert status == 2
        assert f"another process writes to it (process {os.getpid()})" in said
        assert not [path for path in tmp_path.iterdir() if path.name in ("new", "out.jsonl", "out.parquet")]


_STAGES = {"problems": "problems/heldout.jsonl", "policy": "models/policy/config.json",
           "solutions": "solutions.parquet", "labels and pools": "training.parquet",
           "reward models": "models/prm-orm/erprm.json", "validation": "aggregation.json", "scores": "pool-orm.parquet",
           "truth": "truth.parquet", "raft": "pool-raft.parquet"}  # what each stage of a demo leaves


def _stages_done(folder: Path) -> dict[str, Any]:
    """By stage: its seconds, and when its file was written."""
    path = folder / "out" / "stages.json"
    done = json.loads(path.read_text())["seconds"] if path.exists() else {}
    return {name: (seconds, (folder / "out" / _STAGES[name]).stat().st_mtime_ns) for name, seconds in done.items()}


def _cells_done(folder: Path) -> dict[str, Any]:
    """When each cell of a study was written, and the stages that its policy shares with the demo."""
    cells = {str(path): path.stat().st_mtime_ns for path in (folder / "out" / "cells").rglob("*.json")}
    stages = [json.loads(path.read_text())["seconds"] for path in (folder / "out" / "work").rglob("stages.json")]
    return cells | {name: seconds for found in stages for name, seconds in found.items()}


def _without_times(folder: Path) -> dict[str, Any]:
    """What a demo or a study came to: its files' names, rows, and results apart from seconds and rates."""
    def timeless(found: Any) -> Any:
        if isinstance(found, dict):
            return {name: timeless(value) for name, value in found.items() if not re.search("second|runtime", name)}
        return found

    out = folder / "out"
    names = {str(path.relative_to(out)): None for path in out.rglob("*") if path.is_file()
             and path.relative_to(out).parts[0] != "work" and not str(path).endswith(".store/lock")}
    results = {name: json.dumps(timeless(json.loads((out / name).read_text()))) for name in names
               if name == "results.json" or name.startswith("cells/")}
    rows = {name: list(read_rows(out / name)) for name in names if re.fullmatch(r"[a-z_0-9-]+\.parquet", name)}
    return names | results | rows


@pytest.mark.parametrize(("command", "kept", "more"), [
    ("demo", _stages_done, 20 if LONG else 75), ("study", _cells_done, 30 if LONG else 90)])
def test_a_demo_and_a_study_go_on_from_kill_to_kill(command: str, kept: Callable[[Path], dict[str, Any]], more: int,
                                                    nursery: Nursery, tmp_path: Path) -> None:
    """The first kills alone are tried here, and that nothing finished is done again; `make attack` comes to the end."""
    case = Case(command, lambda folder: None, lambda folder: [command, "--smoke", "--out", str(folder / "out")],
                _without_times)
    assert goes_on(nursery, case, kept, tmp_path, more, None if LONG else 3) >= 3
