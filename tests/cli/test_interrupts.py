"""SIGTERM and Ctrl-C end a command with one line, wherever they come."""

import os
import signal
import time
from pathlib import Path

import pytest

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
