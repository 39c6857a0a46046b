"""Answers behind other marks: `--answer-pattern` and `--answer last-number`, and what is said of texts without one."""

import json
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.errors import InputError
from erprm.grading import GraderPool
from erprm.grading.answered import Answered
from erprm.grading.extraction import Extraction
from erprm.problems import Problem
from erprm.terminal import printable


@pytest.mark.parametrize(("extraction", "text", "answer"), [
    (Extraction(answer_pattern=r"^A: (.*)$"), "A: 7\nso\nA: 42\nthat is all", "42"),
    (Extraction(answer_pattern=r"^A: (.*)$"), "<think>A: 7</think>B: 42", None),
    (Extraction(answer_pattern=r"A=(\d+)|B=(\d+)"), "B=5", "5"),
    (Extraction(answer_pattern=r"A:(\d*)"), "A:5 and A:", "5"),
    (Extraction(answer="last-number"), "7-5 gives 2, then 3-4", "4"),
    (Extraction(answer="last-number"), "it is $1,234.50.", "1,234.50"),
    (Extraction(answer="last-number"), "so we get -3 .", "-3"),
    (Extraction(answer="last-number"), r"the half, \frac{1}{2}.", r"\frac{1}{2}"),
    (Extraction(answer="last-number"), "a share of 3/4, or 75%", "75%"),
    (Extraction(answer="last-number"), "none at all", None),
    (Extraction(), "so we have\nA: 42", None),
])
def test_what_is_read(extraction: Extraction, text: str, answer: str | None) -> None:
    assert extraction.reader("math")(text) == answer


def test_a_users_function_sees_the_whole_text() -> None:
    assert Extraction(answer_pattern="(A)").reader("python:m:f")("A b") == "A b"


def test_a_pattern_that_backtracks_without_end_is_given_up() -> None:
    problem = Problem("1", "Q", "5")
    with GraderPool(workers=1, extraction=Extraction(answer_pattern=r"(x+x+)+y")) as pool:
        first, second = pool.verdicts([("x" * 3000, problem), ("xxy", problem)])
    assert (first.answer, first.reason) == (None, "no answer")
    assert second.answer == "xx"


@pytest.mark.parametrize(("options", "message"), [
    ({"answer_pattern": "A: ("}, "answer_pattern: expected a regular expression, found 'A: (': missing )"),
    ({"answer_pattern": "A: .*"}, "answer_pattern: expected a group"),
    ({"answer_pattern": "(A)", "answer": "last-number"}, "expected no --answer beside it"),
    ({"answer": "first-number"}, "answer: expected one of marked, last-number"),
])
def test_bad_options(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as error:
        Extraction(**options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_texts_without_an_answer_are_counted_and_shown_harmlessly() -> None:
    answered = Answered("solutions")
    for number in range(10):
        answered.add(f"\x1b[31mA: {number}", None if number < 3 else "7", cut=number == 0)
    said = str(answered)
    assert said.startswith("3 of 10 solutions (30.0%) state no final answer, 1 of them cut off; the ends of some:\n")
    assert r"    \x1b[31mA: 1" in said
    assert "\x1b" not in said
    assert "warning: 30% of the solutions count as wrong" in said
    assert "--answer-pattern REGEX or --answer last-number" in said
    answered.count(10, 0, 0)
    assert "warning" not in str(answered)


def test_printable() -> None:
    assert printable("a\x1b]0;x\x07\nb\u202e é 中") == "a\\x1b]0;x\\x07\\nb\\u202e é 中"


def test_audit_says_it_and_no_escape_reaches_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": "so\nA: 42\x1b[2J", "gold": "42"}, {"text": "#### B) \x1b[2Jx", "gold": "B) \x1b]0;y\x07"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["audit", "--input", str(tmp_path / "in.jsonl"), "--text-field", "text", "--workers", "1", "--graders",
               "numeric", "choice", "--out", str(tmp_path / "out.jsonl")]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert r"B) \x1b]0;y\x07" in shown.out
    assert "numeric: 1 of 2 texts (50.0%) state no final answer" in shown.out
    assert "--answer-pattern REGEX" in shown.out
    assert "\x1b" not in shown.out + shown.err
    assert main([*command, "--answer-pattern", r"A: (\d+)"]) == 0
    assert "numeric and choice: 1 of 2 texts" in capsys.readouterr().out
    assert main([*command, "--answer-pattern", "A: ("]) == 2
    assert capsys.readouterr().err == ("erprm audit: error: answer_pattern: expected a regular expression, found "
                                       "'A: (': missing ) at position 4\n")
