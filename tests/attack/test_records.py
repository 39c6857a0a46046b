"""The records that a demo, a study and a training go on from, cut or damaged: one line with the file and what to do."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from attack.counts import attempt

from erprm.cli import main
from erprm.demo.settings import SMOKE
from erprm.demo.stages import Stages
from erprm.files.json_files import write_record
from erprm.study.cells import Cell, Result, write_cell

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "no text": lambda data: b"\xff\xfe" + data,
    "a list": lambda data: b"[" + data + b"]",
    "a number": lambda data: b"5",
    "other names": lambda data: data.replace(b'"settings"', b'"setting"').replace(b'"seconds"', b'"second"'),
    "another number": lambda data: data.replace(b"0", b"1"),
    "nested": lambda data: b'{"a":' * 100_000,
    "a long number": lambda data: b'{"a": ' + b"9" * 5000 + b"}",
    "no settings": lambda data: b'{"settings": 5, "seconds": 5, "finished": 5}',
}


def _demo(folder: Path) -> tuple[list[str], Path]:
    Stages(folder, {"seed": 0, "etas": list(SMOKE.etas)}).run("problems", [])
    return ["demo", "--smoke", "--out", str(folder)], folder / "stages.json"


def _study(folder: Path) -> tuple[list[str], Path]:
    work = folder / "work" / "countdown" / "policy-0"
    Stages(work, {"seed": 0}).run("problems", [])
    return ["study", "--smoke", "--out", str(folder)], work / "stages.json"


def _cell(folder: Path) -> tuple[list[str], Path]:
    cell = Cell("countdown", 0, "soft", 0)
    write_cell(cell.path(folder / "cells"), Result(cell, {}, [(0, 0.5)], {"seconds": 1.0}, {"pass@1": 0.5}),
               {"settings": {"seed": 0}})
    return ["study", "--smoke", "--out", str(folder)], cell.path(folder / "cells")


def _training(folder: Path) -> tuple[list[str], Path]:
    write_record(folder / "run.json", {"settings": {"seed": 0}, "finished": False})
    rows = folder.parent / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "q", "steps": ["a"], "labels": [1.0]}) + "\n", encoding="utf-8")
    return ["train", "--model", "none/such", "--data", str(rows), "--out", str(folder)], folder / "run.json"


@pytest.mark.parametrize("begun", [_demo, _study, _cell, _training])
def test_damaged_records_are_named_and_nothing_is_done(begun: Callable[[Path], tuple[list[str], Path]], tmp_path: Path,
                                                       capfd: pytest.CaptureFixture[str]) -> None:
    words, record = begun(tmp_path / "out")
    whole = record.read_bytes()
    for name, change in DAMAGE.items():
        record.write_bytes(change(whole))
        with attempt("damaged records"):
            assert main(words) == 2, name
            lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("erprm")]
            assert len(lines) == 1, name
            assert f"error: {record}: " in lines[0], name
            assert "remove" in lines[0], name
            assert record.read_bytes() == change(whole), name
