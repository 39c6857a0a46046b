"""Texts of others that commands print: no control sequence of theirs reaches the terminal, no markup a page.

Every text of the rows here, ids and extra fields included, steers a terminal where it is printed as it is.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from attack.counts import attempt
from prm.rows_of_steps import rows

from erprm.cli import main
from erprm.formats import FORMATS, Options, write
from erprm.judging.verdicts import verdict_row
from erprm.prm.model import PRM
from erprm.problems import Problem, write_problems
from erprm.rows import write_rows

_HOSTILE = "\x1b]0;theirs\x07\x1b[2J\r\x9b31m\u202e\u2066<script>alert(1)</script>[/red][bold]{{7*7}}"
_OWN = frozenset("\n\t\r")  # of what commands themselves print; \r begins the line of a bar again


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal")
    PRM.from_base(tiny.llama(), tiny.tokenizer()).save_pretrained(folder / "prm")
    tiny.tokenizer().save_pretrained(folder / "prm")
    tiny.save(folder / "policy")
    made = [replace(row, prompt=_HOSTILE + row.prompt, steps=tuple(step + _HOSTILE for step in row.steps),
                    problem_id=row.problem_id + _HOSTILE, solution_id=f"{row.problem_id}/{row.solution_id}{_HOSTILE}",
                    scores=tuple(0.1 * place for place in range(len(row.steps))), answer=f"{number % 2}{_HOSTILE}",
                    gold=f"1{_HOSTILE}", finished=True, extra={_HOSTILE: _HOSTILE})
            for number, row in enumerate(rows(3, 4))]
    write_rows(folder / "rows.jsonl", made)
    write_rows(folder / "strangers.jsonl", [replace(row, prompt=_HOSTILE, problem_id=_HOSTILE) for row in made])
    write_rows(folder / "verdicts.jsonl", [verdict_row(row, None, "them") for row in made])
    write_problems(folder / "problems.jsonl", {row.problem_id: Problem(row.problem_id, row.prompt, f"1{_HOSTILE}")
                                               for row in made}.values())
    records = [row.to_dict() for row in made]
    for name, change in {"label": {"outcome": _HOSTILE}, "steps": {"steps": [_HOSTILE, 5]}, "name": {_HOSTILE: 1},
                         "id": {"problem_id": 5, _HOSTILE: {}}, "prompt": {"prompt": None}}.items():
        (folder / f"bad-{name}.jsonl").write_text(json.dumps({**records[0], **change}) + "\n", encoding="utf-8")
    (folder / "tagged.jsonl").write_text(json.dumps({"prompt": _HOSTILE, "label": _HOSTILE, "input": _HOSTILE}) + "\n")
    (folder / "answers.jsonl").write_text("".join(json.dumps(
        {"text": f"so {_HOSTILE} \\boxed{{{answer}{_HOSTILE}}}", "gold": f"0.5{_HOSTILE}", "id": _HOSTILE}) + "\n"
        for answer in ("0.5", "1/2", "x")), encoding="utf-8")
    (folder / f"{_HOSTILE.replace('/', '')}.yaml").write_text("nosuch: 1\n", encoding="utf-8")
    return folder


_ROWS, _PROBLEMS = ("--rows", "{}/rows.jsonl"), ("--problems", "{}/problems.jsonl")
_PRINTS: dict[str, list[tuple[str, ...]]] = {
    "audit": [("--input", "{}/answers.jsonl", "--text-field", "text", "--graders", "exact", "numeric", "--workers", "1",
               "--out", "{}/out.jsonl"),
              ("--input", "{}/answers.jsonl", "--graders", "exact", "numeric", "--out", "{}/out.jsonl")],
    "grade": [(*_ROWS, *_PROBLEMS, "--workers", "1", "--out", "{}/out.jsonl"),
              ("--rows", "{}/strangers.jsonl", *_PROBLEMS, "--workers", "1", "--out", "{}/out.jsonl")],
    "doctor": [("--model", "{}/prm", "--data", "{}/rows.jsonl"),
               ("--model", "{}/prm", "--data", "{}/rows.jsonl", "--eval", "{}/rows.jsonl", "--max-length", "20"),
               ("--model", "{}/prm", "--data", "{}/rows.jsonl", "--tag", _HOSTILE)],
    "filter": [(*_ROWS, "--consensus", "{}/verdicts.jsonl", "--out", "{}/out.jsonl")],
    "evaluate": [("--scored", "{}/rows.jsonl", "--out", "{}/report"), ("--scored", "{}/strangers.jsonl", "--out",
                                                                       "{}/report")],
    "score": [("--model", "{}/prm", *_ROWS, "--out", "{}/out.jsonl", "--max-length", "8"),
              ("--model", "{}/prm", *_ROWS, "--out", "{}/out.jsonl")],
    "sample": [("--policy", "{}/policy", *_PROBLEMS, "--dry-run", "--show", "2", "--out", "{}/out.jsonl"),
               ("--policy", "{}/policy", *_PROBLEMS, "--max-tokens", "4", "--workers", "1", "--out", "{}/out.jsonl",
                "--show", "1"), ("--policy", _HOSTILE, *_PROBLEMS, "--out", "{}/out.jsonl")],
    "label": [("--policy", "{}/policy", *_PROBLEMS, "--solutions", "{}/rows.jsonl", "--dry-run", "--show", "2", "--out",
               "{}/labels"),
              ("--policy", "{}/policy", *_PROBLEMS, "--solutions", "{}/strangers.jsonl", "--out", "{}/labels")],
    "train": [("--model", "{}/prm", "--data", "{}/rows.jsonl", "--dry-run", "--out", "{}/new"),
              ("--model", "{}/prm", "--data", "{}/rows.jsonl", "--dry-run", "--max-length", "8", "--out", "{}/new"),
              ("--model", "{}/prm", "--data", "{}/rows.jsonl", "--layout", _HOSTILE, "--out", "{}/new")],
    "sft": [("--model", "{}/policy", "--data", "{}/rows.jsonl", "--dry-run", "--show", "2", "--out", "{}/new")],
    "raft": [("--policy", "{}/policy", "--prm", "{}/prm", "--solutions", "{}/rows.jsonl", "--dry-run", "--out",
              "{}/new")],
    "convert": [("--input", f"{{}}/{name}.jsonl", "--from", source, "--to", "erprm", "--out", "{}/out.jsonl", *more)
                for name, source in (("bad-label", "erprm"), ("bad-steps", "erprm"), ("bad-name", "erprm"),
                                     ("bad-id", "erprm"), ("bad-prompt", "erprm"),
                                     *(("tagged", name) for name in FORMATS))
                for more in ((), ("--no-strict",))],
}


@pytest.mark.parametrize("command", _PRINTS)
def test_no_control_sequence_of_theirs_is_printed(command: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in _PRINTS[command]:
        with attempt("texts that steer a terminal"):
            main([command, *(word if word == _HOSTILE else word.replace("{}", str(place)) for word in words)])
            shown = capfd.readouterr()
            for text in shown:
                assert "Traceback" not in text, (words, text)
                unseen = {char for char in text if not char.isprintable()} - _OWN
                assert "J\r" not in text
                assert not unseen, (words, unseen, [line for line in text.splitlines() if set(line) & unseen][:2])


def test_a_page_shows_markup_as_text(place: Path) -> None:
    assert main(["evaluate", "--scored", f"<script>alert(1)</script>={place / 'rows.jsonl'}", "--out",
                 str(place / "page")]) == 0
    page = (place / "page" / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_messages_about_rows_of_every_format_are_one_printable_line(place: Path,
                                                                    capfd: pytest.CaptureFixture[str]) -> None:
    [row] = rows(1, 1)
    whole = replace(row, labels=tuple(1.0 for _ in row.steps), successes=None, trials=None, outcome=1.0, gold="7",
                    scores=tuple(0.5 for _ in row.steps))
    for name in FORMATS:
        path = place / f"whole-{name}.jsonl"
        write(path, name, [whole], options=Options(neutral="none", threshold=0.5))
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for key in record:
            path.write_text(json.dumps({**record, key: _HOSTILE, _HOSTILE: 5}) + "\n", encoding="utf-8")
            with attempt("texts that steer a terminal"):
                main(["convert", "--from", name, "--to", "erprm", "--input", str(path), "--out", f"{place}/out.jsonl"])
                for text in capfd.readouterr():
                    assert "J\r" not in text
                    assert all(char.isprintable() or char in _OWN for char in text), (name, key, text)
                    assert "Traceback" not in text
