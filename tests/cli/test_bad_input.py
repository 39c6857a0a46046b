"""What a user may hand in by mistake: one clear line, exit code 2, nothing half-written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from erprm.cli import main

GOOD = {"prompt": "1+1?", "steps": ["1+1=2"], "labels": [1.0], "outcome": 1.0, "problem_id": "a"}
PROBLEM = {"id": "a", "question": "1+1?", "answer": "2"}


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must be refused; returns its line. Nothing new may lie in the folder afterwards."""
    def run(*arguments: str) -> str:
        before = {path for path in tmp_path.rglob("*") if path.is_file()}
        capsys.readouterr()
        assert main(arguments) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("erprm ")]
        assert len(lines) == 1
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
        return lines[0]
    return run


def lines(path: Path, *records: object) -> str:
    path.write_text("".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records))
    return str(path)


@pytest.mark.parametrize(("records", "words"), [
    (["{"], ":1: expected one JSON object per line"),
    ([GOOD, "{"], ":2: expected one JSON object per line"),
    ([[1]], ":1: expected a JSON object, found list"),
    ([{**GOOD, "step": 1}], ":1: unknown field 'step'"),
    ([{**GOOD, "steps": []}], ":1: steps: expected at least one step, found none"),
    ([{**GOOD, "labels": [0.5, 0.5]}], ":1: labels: expected one value per step (1), found 2"),
    ([{**GOOD, "labels": [1.5]}], ":1: labels: expected values in [0, 1] or null, found 1.5"),
    ([{**GOOD, "successes": [3], "trials": [2]}], ":1: successes: expected 0 <= successes <= trials, found 3 of 2"),
])
def test_rows(records: list[object], words: str, tmp_path: Path, model_dir: Path, refused: Callable[..., str]) -> None:
    data = lines(tmp_path / "rows.jsonl", *records)
    assert words in refused("train", "--model", str(model_dir), "--data", data, "--out", str(tmp_path / "prm"))


def test_no_such_file(tmp_path: Path, model_dir: Path, refused: Callable[..., str]) -> None:
    missing = str(tmp_path / "none.jsonl")
    assert "none.jsonl: no such file" in refused("sft", "--model", str(model_dir), "--data", missing, "--out", "x")
    assert "none.jsonl" in refused("sample", "--problems", missing, "--policy", str(model_dir), "--out", "x.parquet")
    assert "none.jsonl" in refused("score", "--model", str(model_dir), "--rows", missing, "--out", "x.parquet")


def test_a_tag_that_is_not_one_token(tmp_path: Path, model_dir: Path, refused: Callable[..., str]) -> None:
    data = lines(tmp_path / "rows.jsonl", GOOD)
    line = refused("train", "--model", str(model_dir), "--data", data, "--out", str(tmp_path / "prm"),
                   "--tag", "<step>")
    assert "tag" in line
    assert "<step>" in line


def test_numbers_out_of_range(tmp_path: Path, model_dir: Path, refused: Callable[..., str]) -> None:
    problems = lines(tmp_path / "problems.jsonl", PROBLEM)
    rows = lines(tmp_path / "rows.jsonl", {**GOOD, "successes": [1], "trials": [4]})
    out = str(tmp_path / "o.parquet")
    assert "found 0" in refused("sample", "--problems", problems, "--policy", str(model_dir), "--out", out, "--n", "0")
    assert "found 0" in refused("label", "--problems", problems, "--solutions", rows, "--policy", str(model_dir),
                                "--out", str(tmp_path / "store"), "--n", "0")
    assert "eta" in refused("train", "--model", str(model_dir), "--data", rows, "--out", str(tmp_path / "prm"), "--eta",
                            "nan", "--target", "er")


def test_an_empty_problem_set(tmp_path: Path, model_dir: Path, refused: Callable[..., str]) -> None:
    problems = lines(tmp_path / "problems.jsonl")
    line = refused("sample", "--problems", problems, "--policy", str(model_dir), "--out", str(tmp_path / "o.parquet"))
    assert "problems.jsonl" in line
