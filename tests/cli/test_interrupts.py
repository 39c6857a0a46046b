"""SIGTERM and Ctrl-C end a command with one line, wherever they come."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tqdm import tqdm

from erprm.cli import convert, main


class Destructor:
    """Is interrupted while it is destroyed, where Python can raise nothing."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"),
                                                      (signal.SIGTERM, 143, "terminated")])
@pytest.mark.parametrize("where", ["in a destructor", "anywhere"])
def test_an_interruption_is_one_line(number: int, code: int, word: str, where: str, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupted(config: object) -> None:
        if where == "anywhere":
            os.kill(os.getpid(), number)
        else:
            del [Destructor(number)][0]
        late = time.monotonic() + 20
        while time.monotonic() < late:  # until it comes
            pass

    before = signal.getsignal(signal.SIGTERM)
    asked = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born ignoring it
    monkeypatch.setattr(convert, "run", interrupted)
    words = ["convert", "--input", "x", "--from", "erprm", "--to", "erprm", "--out", str(tmp_path / "x.jsonl")]
    try:
        assert main(words) == code
    finally:
        signal.signal(signal.SIGINT, asked)
    assert capfd.readouterr().err.strip() == (f"erprm convert: {word}; what was committed is kept, run the same "
                                              "command to go on")
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_once_the_work_is_done_nothing_more_is_said(number: signal.Signals) -> None:
    """Shutting down takes a second where torch was imported."""
    ending = textwrap.dedent("""
        import atexit, runpy, signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)
        atexit.register(lambda: (print("ending", flush=True), sys.stdin.read()))
        sys.argv = ["erprm", "--help"]
        runpy.run_module("erprm", run_name="__main__")
    """)
    with subprocess.Popen([sys.executable, "-c", ending], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "ending\n" in iter(process.stdout.readline, "")
        process.send_signal(number)
        assert not process.stderr.read()
    assert process.returncode == -number


def test_an_errors_line_stands_below_a_bar_that_was_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    bars = []

    def failing(config: object) -> None:
        bars.append(tqdm(total=2))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert, "run", failing)
    main(["convert", "--input", "x", "--from", "erprm", "--to", "erprm", "--out", str(tmp_path / "x.jsonl")])
    assert "erprm convert: error: [Errno 28] No space left on device" in capsys.readouterr().err.split("\n")
