"""Commands side by side, as real processes: each leaves what it leaves alone, none outlives its run or a failure."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from erprm.demo.commands import Command, command, together
from erprm.errors import InputError
from erprm.rows import StepRow, read_rows, write_rows

ROWS = [StepRow(f"q{number}", ("a", "b"), labels=(1.0, 0.0)) for number in range(3)]


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def convert(source: Path, out: Path) -> Command:
    return command("convert", **{"from": "erprm", "to": "erprm"}, input=source, out=out)


@pytest.mark.usefixtures("two_threads")
def test_more_commands_than_threads_all_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    outs = [tmp_path / f"out-{number}.jsonl" for number in range(3)]
    together([convert(tmp_path / "rows.jsonl", out) for out in outs], tmp_path / "logs")()
    for out in outs:
        assert [(row.prompt, row.steps, row.labels) for row in read_rows(out)] == [
            (row.prompt, row.steps, row.labels) for row in ROWS]
    said = capsys.readouterr().err
    for number, out in enumerate(outs, start=1):
        log = tmp_path / "logs" / f"{number}-convert.txt"
        assert f"--out {out} > {log}" in said
        assert "3 rows" in log.read_text()


@pytest.mark.usefixtures("two_threads")
def test_a_failure_is_its_line_and_stops_the_others(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS * 50_000)
    with pytest.raises(InputError, match=r"erprm convert: error: .*absent.*exit code 2, the rest in .*1-convert\.txt"):
        together([convert(tmp_path / "absent.jsonl", tmp_path / "out-1.jsonl"),
                  convert(tmp_path / "rows.jsonl", tmp_path / "out-2.jsonl")], tmp_path / "logs")()
    assert not _children(os.getpid())
    assert not (tmp_path / "out-2.jsonl").exists()


def test_none_outlives_a_killed_run(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS * 50_000)
    script = textwrap.dedent(f"""
        from pathlib import Path
        import torch
        from erprm.demo.commands import command, together
        torch.set_num_threads(2)
        folder = Path({str(tmp_path)!r})
        together([command("convert", **{{"from": "erprm", "to": "erprm"}}, input=folder / "rows.jsonl",
                          out=folder / f"out-{{number}}.jsonl") for number in range(2)], folder / "logs")()
    """)
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        assert "out-0.jsonl" in next(line for line in run.stderr if line.startswith("$"))
        assert "out-1.jsonl" in next(line for line in run.stderr if line.startswith("$"))
        children = _children(run.pid)
        while len(children) < 2:
            children = _children(run.pid)
        run.send_signal(signal.SIGKILL)
        run.wait()
    while any(map(_alive, children)):
        pass
    assert not list(tmp_path.glob("out-*.jsonl"))


def _children(process: int) -> list[int]:
    """Those that run a command."""
    found = [int(name) for name in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [child for child in found if b"erprm.demo.commands" in Path(f"/proc/{child}/cmdline").read_bytes()]


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
