"""`erprm label` from files to files with a real policy: an accuracy to reach, completions as rows, and its progress."""

import json
import os
import pty
import re
import string
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.judging.verdicts import verdict_row
from erprm.rows import StepRow, read_rows, write_rows


@pytest.fixture
def label(tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command up to its options: three problems, right when the text has an even number of characters."""
    (tmp_path / "parity.py").write_text("def even(text, problem):\n    return len(text) % 2 == 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    problems, rows = tmp_path / "problems.jsonl", tmp_path / "rows.jsonl"
    problems.write_text("".join(json.dumps({"id": str(i), "question": f"{i}+3?", "answer": str(i),
                                            "grader": "python:parity:even"}) + "\n" for i in range(3)))
    rows.write_text("".join(json.dumps({"prompt": f"{i}+3?", "steps": ["a", "b", last], "outcome": 0.0}) + "\n"
                            for i in range(3) for last in ("c", "d")))
    return ["label", "--problems", f"{problems}?run-python-graders=yes", "--solutions", str(rows),
            "--policy", str(model_dir), "--device", "cpu", "--max-tokens", "24", "--stop", *"aeiou", "--workers", "1",
            "--part-completions", "16", "--out", str(tmp_path / "labels")]


def test_an_accuracy_is_reached_and_completions_become_rows(label: Sequence[str], tmp_path: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--rmse", "0.12", "--n-min", "2", "--n-max", "64", "--n-step", "4", "--contrast", "1"]
    assert main([*label, *options]) == 0
    shown = capsys.readouterr().out
    reached = re.search(r"error of V_eta, under the fitted rates: (0\.\d+)", shown)
    assert reached is not None
    assert float(reached[1]) <= 0.12
    trials = [n for row in read_rows(tmp_path / "labels" / "rows.parquet") for n in (row.trials or ())[:2]]
    assert 2 < max(trials) <= 64
    pairs = list(read_rows(tmp_path / "labels" / "contrast.parquet"))
    assert f"completions as rows: {len(pairs)}, " in shown
    assert sum(pair.outcome or 0 for pair in pairs) == len(pairs) / 2 > 0
    assert main([*label, *options]) == 0
    assert "0 completions sampled" in capsys.readouterr().out
    assert main([*label, *options, "--width", "0.2"]) == 2


def verdicts(folder: Path) -> str:
    """On the solutions to the first two problems: wrong at the last step, as their outcomes say, and one before."""
    judged = [verdict_row(StepRow(f"{i}+3?", ("a", "b", last)), 2 - i, "us") for i in range(2) for last in ("c", "d")]
    write_rows(folder / "verdicts.jsonl", judged)
    return str(folder / "verdicts.jsonl")


@pytest.mark.parametrize("how", [["--n", "8"], ["--n", "8", "--find", "first-error", "--confidence", "0.6"]])
def test_rows_that_agree_with_verdicts_are_kept_besides(label: Sequence[str], tmp_path: Path, how: list[str],
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "parity.py").write_text("def even(text, problem):\n    return True\n")
    words = [*label, *how, "--stop", *string.ascii_letters, "--consensus", verdicts(tmp_path)]  # what ends is right
    assert main(words) == 0
    shown = capsys.readouterr().out
    labelled, agreed = (list(read_rows(tmp_path / "labels" / name)) for name in ("rows.parquet", "agreed.parquet"))
    assert len(labelled) == 6
    assert agreed == labelled[:2]
    assert ("consensus: 2 of 6 rows agree; 2 dropped: the two disagree; 2 dropped: without a verdict in the file"
            in shown)
    assert main([*words, "--consensus-distance", "1"]) == 0
    shown = capsys.readouterr().out
    assert "0 completions sampled" in shown
    assert "4 of 6 rows agree" in shown
    assert list(read_rows(tmp_path / "labels" / "agreed.parquet")) == labelled[:4]


@pytest.mark.parametrize(("words", "says"), [
    (["--consensus", "nowhere.parquet"], "nowhere.parquet"),
    (["--consensus", "{rows}"], "expected labels, found none"),
    (["--consensus", "{verdicts}", "--reward", "graded"], "expected strict rewards"),
    (["--consensus-distance", "1"], "expected --consensus"),
])
def test_verdicts_that_cannot_be_used_are_one_line_before_anything_is_sampled(
        label: Sequence[str], tmp_path: Path, words: list[str], says: str,
        capsys: pytest.CaptureFixture[str]) -> None:
    known = {"rows": tmp_path / "rows.jsonl", "verdicts": verdicts(tmp_path)}
    assert main([*label, *(word.format(**known) for word in words)]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "labels").exists()


def test_the_bar_on_a_terminal(label: Sequence[str], tmp_path: Path) -> None:
    """Prefixes, completions/s, tokens/s, tokens saved and the time left, in 80 columns."""
    terminal, other = pty.openpty()
    process = subprocess.Popen(  # a fork of this process, which has threads, could wait for a lock of theirs for ever
        [sys.executable, "-m", "erprm", *label, "--n", "8"], stdin=other, stdout=other, stderr=other,
        env=os.environ | {"COLUMNS": "80", "TERM": "xterm", "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])})
    os.close(other)
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 1 << 16)
        except OSError:  # Linux says so when the other side has closed
            break
    os.close(terminal)
    assert process.wait() == 0
    text = " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).split())
    assert re.search(r"labelling \S+ 48/48 completions \d:\d\d:\d\d so far, \d:\d\d:\d\d left", text)
    assert re.search(r"[\d.,]+ completions/s, [\d,]+ tokens/s, \d+ of 6 prefixes full, saved tokens: [\d,]+ by dedupe, "
                     r"[\d,]+ by finished", text)
