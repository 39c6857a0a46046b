"""sample, label, guide, score and convert, killed at the changes that they make to files, go on to the same result.

Every second change is tried here, every one where ERPRM_ATTACK is set (`make attack`).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attack.kill import Case, Nursery, survives

from erprm.problems import Problem, write_problems
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow, read_rows, write_rows

_EVERY = 1 if os.environ.get("ERPRM_ATTACK") else 2
_PROBLEMS = [Problem(id=f"p{i}", question=f"{i}+1?", answer=str(i + 1), grader="numeric") for i in range(3)]


@pytest.fixture(scope="module")
def nursery(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("kills") / "log", str(model_dir), "erprm.cli.sample", "erprm.cli.guide",
                 "erprm.cli.score", "erprm.cli.convert", "erprm.prm.scoring.scorer", "erprm.rollouts.sample",
                 "erprm.selection.beam", "erprm.selection.files", "pyarrow.pandas_compat") as nursery:
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

    assert survives(nursery, Case(command, _prepare, argv, _left, _results_are_whole, _EVERY), tmp_path) >= 4


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

    case = Case("find", _prepare, argv, left, _results_are_whole, 4 * _EVERY)
    assert survives(nursery, case, tmp_path) >= 2
    assert all(left(tmp_path / "find-undisturbed"))


@pytest.mark.parametrize(("command", "suffix"), [("score", "jsonl"), ("convert", "jsonl"), ("convert", "parquet")])
def test_scoring_and_converting_survive_too(command: str, suffix: str, nursery: Nursery, prm_dir: Path,
                                            tmp_path: Path) -> None:
    options = {"score": ["--model", str(prm_dir), "--device", "cpu", "--part-rows", "2", "--rows"],
               "convert": ["--from", "erprm", "--to", "erprm", "--input"]}[command]

    def argv(folder: Path) -> list[str]:
        return [command, *options, str(folder / "rows.jsonl"), "--out", str(folder / f"out.{suffix}")]

    assert survives(nursery, Case(command, _prepare, argv, _left, _results_are_whole, _EVERY), tmp_path) >= 2
