"""`erprm grade`: solutions that one already has, of this project's and of other formats, get outcomes."""

import json
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.problems import Problem, write_problems
from erprm.rows import StepRow, read_rows, write_rows


@pytest.fixture
def problems(tmp_path: Path) -> str:
    path = tmp_path / "problems.jsonl"
    write_problems(path, [Problem("p1", "1+1?", "2"), Problem("p2", "What is half of one?", r"\frac{1}{2}")])
    return str(path)


def test_outcomes_are_filled_in_and_evaluate_reads_them(tmp_path: Path, problems: str,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    rows, out = tmp_path / "rows.parquet", tmp_path / "graded.parquet"
    write_rows(rows, [
        StepRow("1+1?", ("1+1=2", "A: 2"), problem_id="p1", outcome=0.0, scores=(0.9, 0.9)),  # judged before, wrongly
        StepRow("1+1?", ("A: 3",), scores=(0.1,)),  # found by its prompt
        StepRow("half?", ("A: 0.5",), problem_id="p2", scores=(0.8,)),  # by its id
        StepRow("What is half of one?", ("A: 1/2",), finished=False, scores=(0.3,)),  # might have become 1/20
        StepRow("2+2?\x1b[31m", ("A: 4",), problem_id="p3", scores=(0.5,)),  # of no problem
    ])
    evaluate = ["evaluate", "--scored", f"m={rows}", "--out", str(tmp_path / "evaluation")]
    assert main(evaluate) == 2
    assert "erprm grade --rows ... --problems ... fills it in" in capsys.readouterr().err
    assert main(["grade", "--rows", str(rows), "--problems", problems, "--out", str(out), "--workers", "1",
                 "--answer-pattern", "A: (.*)"]) == 0
    shown = capsys.readouterr().out
    assert "4 solutions graded, 50.0% right; 1 had another outcome before" in shown
    assert "1 have the id of a problem, but not its question as their prompt" in shown
    assert "1 belong to no problem of" in shown
    assert r"'2+2?\\x1b[31m'" in shown
    assert "1 of 4 solutions (25.0%) state no final answer, 1 of them cut off" in shown
    assert shown.splitlines()[-1] == str(out)
    graded = list(read_rows(out))
    assert [(row.problem_id, row.outcome, row.answer, row.gold) for row in graded] == [
        ("p1", 1.0, "2", "2"), ("p1", 0.0, "3", "2"), ("p2", 1.0, "0.5", r"\frac{1}{2}"),
        ("p2", 0.0, None, r"\frac{1}{2}")]
    evaluate[2] = f"m={out}"
    assert main(evaluate) == 0


def test_another_format(tmp_path: Path, problems: str) -> None:
    (tmp_path / "trl.jsonl").write_text(json.dumps({
        "prompt": "1+1?", "completions": ["1+1=2", "The answer is 2."], "labels": [True, True]}) + "\n")
    out = tmp_path / "graded.jsonl"
    assert main(["grade", "--rows", str(tmp_path / "trl.jsonl"), "--from", "trl", "--problems", problems, "--out",
                 str(out), "--workers", "1"]) == 0
    (row,) = read_rows(out)
    assert (row.problem_id, row.outcome, row.labels) == ("p1", 1.0, (1.0, 1.0))


@pytest.mark.parametrize(("record", "options", "message"), [
    ({"prompt": "3+3?", "steps": ["6"], "problem_id": "p9"}, [],
     "expected solutions to problems that are known, found none"),
    ({"prompt": "1+1?", "steps": ["2"]}, ["--out", "x.csv"], "expected a .parquet or .jsonl file"),
    ({"prompt": "1+1?"}, [], "dropped 1"),
    ({"prompt": "1+1?", "steps": ["2"]}, ["--answer-pattern", "2"], "answer_pattern: expected a group"),
])
def test_bad_input(record: dict[str, object], options: list[str], message: str, tmp_path: Path, problems: str,
                   capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(record) + "\n")
    out = tmp_path / "graded.jsonl"
    assert main(["grade", "--rows", str(tmp_path / "rows.jsonl"), "--problems", problems, "--out", str(out),
                 "--workers", "1", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len([line for line in error.splitlines() if "error" in line]) == 1
    assert not out.exists()
