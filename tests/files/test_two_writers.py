"""Two processes, one output: the second is refused in one line and changes nothing."""

import os
from pathlib import Path

import pytest
import tiny

from erprm.cli import main
from erprm.files.writing import locked
from erprm.prm.model import PRM
from erprm.rows import StepRow, write_rows


@pytest.fixture
def prm(tmp_path: Path) -> Path:
    PRM.from_base(tiny.llama(), tiny.tokenizer()).save_pretrained(tmp_path / "prm")
    tiny.tokenizer().save_pretrained(tmp_path / "prm")
    return tmp_path / "prm"


@pytest.mark.parametrize("command", ["convert", "score"])
def test_the_second_process_is_refused(command: str, tmp_path: Path, prm: Path,
                                       capfd: pytest.CaptureFixture[str]) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    write_rows(rows, [StepRow("1?", ("a",))])
    out.write_text("the first one's")
    arguments = {"convert": ["--from", "erprm", "--to", "erprm", "--input", str(rows)],
                 "score": ["--model", str(prm), "--rows", str(rows), "--device", "cpu"]}[command]
    first, ready = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with locked(out):
            os.write(ready[1], b".")
            os.read(first[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    assert main([command, *arguments, "--out", str(out)]) == 2
    os.write(first[1], b".")
    os.waitpid(child, 0)
    assert f"out.jsonl: another process writes to it (process {child})" in capfd.readouterr().err
    assert out.read_text() == "the first one's"
