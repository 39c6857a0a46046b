"""`erprm audit`: the answers on which two graders disagree."""

import json
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.problems import Problem, write_problems
from erprm.rows import StepRow, write_rows


def test_disagreements_are_listed_once_with_both_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [(r"2\sqrt{2}", r"\sqrt{8}")] * 3 + [("(1,2)", "(1, 2)"), ("4", "4"), ("3", "4"), ("", "4")]
    write_rows(tmp_path / "rows.parquet", [StepRow("Q", ("a", f"The answer is {answer}"), gold=gold)
                                           for answer, gold in answers])
    out = tmp_path / "out.jsonl"
    assert main(["audit", "--input", str(tmp_path / "rows.parquet"), "--graders", "math", "numeric", "--workers", "1",
                 "--output", str(out)]) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(item["answer"], item["gold"], item["count"], item["math"], item["numeric"]) for item in found] == [
        (r"2\sqrt{2}", r"\sqrt{8}", 3, "right", "wrong"), ("(1,2)", "(1, 2)", 1, "right", "wrong")]
    shown = capsys.readouterr().out
    assert "4 of 7 answers (2 distinct) are graded differently" in shown
    assert shown.splitlines()[-1] == str(out)


def test_completions_with_the_references_elsewhere(tmp_path: Path) -> None:
    """Problems are matched by their exact id, never by a part of their text."""
    write_problems(tmp_path / "p.jsonl", [Problem("1", "Q", "5"), Problem("11", "Q2", "15")])
    (tmp_path / "c.jsonl").write_text('{"problem_id": "11", "text": "#### 15.0"}\n{"problem_id": "1", "text": "15"}\n')
    arguments = ["audit", "--input", str(tmp_path / "c.jsonl"), "--text-field", "text", "--problems",
                 str(tmp_path / "p.jsonl"), "--graders", "numeric", "exact", "--output", str(tmp_path / "out.jsonl")]
    assert main(arguments) == 0
    (found,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (found["gold"], found["numeric"], found["exact"]) == ("15", "right", "wrong")


@pytest.mark.parametrize(("content", "arguments", "message"), [
    ("", [], "expected at least one solution"),
    ('{"steps": ["a"]}', [], ":1: expected a reference answer in 'gold'"),
    ('{"gold": "1"}', [], ":1: expected steps"),
    ('{"steps": ["a"], "gold": "1"}', ["--graders", "math", "math"], "expected two different ones"),
    ('{"steps": ["a"], "gold": "1"}', ["--graders", "math", "maths"], "found 'maths'"),
])
def test_bad_input(content: str, arguments: list[str], message: str, tmp_path: Path,
                   capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.jsonl").write_text(content)
    files = ["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "o.jsonl")]
    assert main(["audit", *files, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o.jsonl").exists()
