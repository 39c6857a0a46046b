"""Commands disturbed at the changes that they make to files, or in between, started again, and compared.

    with Nursery(tmp_path / "log", "erprm.cli.score") as nursery:
        survives(nursery, Case(prepare, argv, result), tmp_path)

The command runs once undisturbed, which counts its changes: files opened for writing, renames, removals, new folders.
Then, in a fresh folder each, it is killed (a real SIGKILL), interrupted or terminated at one of them or after a share
of its time, or from then on no file may grow, or none beyond some size, as on a full disk. What can be said of that is
said in one line. Run again with the same arguments it must end well, and what `result` reads must be what the
undisturbed run left.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from attack.counts import LONG, attempt


class Nursery:
    """Starts children of a process that has imported everything, one at a time, and waits for them."""

    def __init__(self, log: Path, *modules: str, **environment: str) -> None:
        """
        Args:
            log: where the children's output goes.
            modules: to import before the first child, beside what `erprm label` needs; folders of models to load.
            environment: variables of the process.
        """
        self.log = log
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1",
                       **environment}
        self._process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("nursery.py")), *modules],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.changes = 0  # to files in the folder, of the child that ended last
        self.seconds = 0.0  # of its CPU time

    def start(self, argv: list[str], folder: Path | None = None, at: int | None = None, how: str = "SIGKILL",
              seconds: float | None = None) -> int:
        """Begin `erprm ARGV`; returns its process id.

        Args:
            folder: changes to files in it are counted.
            at: the child is disturbed at this change, counted from 1.
            how: the signal that it gets, "full": no file may grow any more, or "cut": none beyond 64 KiB.
            seconds: it is disturbed when it has used so much CPU time.
        """
        assert self._process.stdin
        job = {"argv": argv, "log": str(self.log), "folder": str(folder or ""), "at": at, "how": how,
               "seconds": seconds}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._answer()[0]

    def status(self) -> int:
        """Wait for the child: its exit status, negative for the signal that ended it."""
        status, self.changes, used = self._answer()
        self.seconds = used / 1000
        return status

    def run(self, argv: list[str], folder: Path | None = None, at: int | None = None, how: str = "SIGKILL",
            seconds: float | None = None) -> int:
        """`start`, then `status`."""
        self.start(argv, folder, at, how, seconds)
        return self.status()

    def said(self, argv: list[str], folder: Path | None = None, at: int | None = None, how: str = "SIGKILL",
             seconds: float | None = None) -> tuple[int, str]:
        """`run`, with what the child wrote to the log."""
        before = self.log.stat().st_size if self.log.exists() else 0
        status = self.run(argv, folder, at, how, seconds)
        return status, self.log.read_bytes()[before:].decode(errors="replace")

    def _answer(self) -> list[int]:
        assert self._process.stdout
        return [int(word) for word in self._process.stdout.readline().split()]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True)
class Disturbance:
    """What happens to a command at the `at`-th change, or after `seconds` of its CPU time."""

    how: str
    at: int | None = None
    seconds: float | None = None

    def held(self, command: str, status: int, said: str) -> bool:
        """Whether the command ended as it should: at once where it was killed, else with one line."""
        if self.how == "SIGKILL":
            return status == -signal.SIGKILL
        lines = [line for line in said.splitlines() if line.startswith("erprm")]
        quiet = "Traceback" not in said and "Exception ignored" not in said
        return quiet and len(lines) == 1 and lines[0].startswith(f"erprm {command}: ") and status == WAYS[self.how][1]


WAYS = {  # by name: what the table of counts calls it, the exit status
    "SIGKILL": ("kills", -signal.SIGKILL), "full": ("full disks", 2), "cut": ("full disks", 2),
    "SIGINT": ("interruptions", 130), "SIGTERM": ("terminations", 143)}


@dataclass(frozen=True)
class Case:
    """A command that must survive being disturbed anywhere.

    Attributes:
        name: of the case, as pytest shows it.
        prepare: writes the inputs into a folder.
        argv: the command for that folder.
        result: what a finished run left in the folder, as something that can be compared.
        whole: called after each disturbance; asserts about what lies in the folder then.
        most: disturbances to try at most, spaced evenly from the first change to the last; each is another one than the
            one before. `make attack` has forty kills, and as many of the others.
        refused: what the command says when it is run again and its output is there whole, where it then does not end
            well; only that may stand in the way of going on.
    """

    name: str
    prepare: Callable[[Path], object]
    argv: Callable[[Path], list[str]]
    result: Callable[[Path], Any]
    whole: Callable[[Path], object] = lambda folder: None
    most: int = 4
    refused: str = ""


def survives(nursery: Nursery, case: Case, work: Path) -> int:
    """Disturb `case`, let it go on, and compare what is left; returns how many changes it makes."""
    expected, changes = _undisturbed(nursery, case, work)
    command = case.argv(work)[0]
    for number, each in enumerate(_disturbances(case, changes, nursery.seconds)):
        with attempt(f"{WAYS[each.how][0]} of {command}"):
            folder, argv = _fresh(case, work, str(number))
            status, said = nursery.said(argv, folder, each.at, each.how, each.seconds)
            late = status in (0, -signal.SIGTERM) and each.how != "SIGKILL"  # it may come when all is done
            if late:
                assert "Traceback" not in said, (each, status, said)
                assert case.result(folder) == expected, (each, status, said)
            else:
                assert each.held(command, status, said), (each, status, said)
            case.whole(folder)
            status, said = nursery.said(argv, folder)
            assert status == 0 or (status == 2 and case.refused and case.refused in said), (each, status, said)
            found = case.result(folder)
            assert found == expected, f"{case.name}: {each} of {changes}: {_differences(found, expected)}"
    return changes


def _disturbances(case: Case, changes: int, seconds: float) -> list[Disturbance]:
    """Interruptions come at changes; terminations at moments, so that loading, sampling and training are met too."""
    def at(how: str, number: int, of: int) -> Disturbance:
        if how == "SIGTERM":
            return Disturbance(how, seconds=seconds * (number + 1) / (of + 1))
        return Disturbance(how, 1 + round(number * (changes - 1) / max(of - 1, 1)))

    if LONG:
        kills = {at("SIGKILL", number, 40): None for number in range(40)}
        return [*kills, *(at(how, number, 12) for how in WAYS if how != "SIGKILL" for number in range(12))]
    first = sum(map(ord, case.name))  # so that not every command is disturbed in the same ways at the same places
    return [at([*WAYS][(first + number) % len(WAYS)], number, case.most) for number in range(case.most)]


def goes_on(nursery: Nursery, case: Case, kept: Callable[[Path], dict[str, Any]], work: Path, more: int,
            most: int | None = None) -> int:
    """Disturb `case` again and again in one folder, in one way after the other, at change `more`, then 2 x `more` and
    so on of the run that goes on, until a run comes to its end before: for long commands, of which each run does what
    is left.

    Args:
        kept: what is finished, as something that no later run may change or lose.
        most: stop after so many, with what is kept.
    """
    expected = None if most else _undisturbed(nursery, case, work)[0]
    folder, argv = _fresh(case, work, "killed")
    finished: dict[str, Any] = {}
    for kills in range(most) if most else itertools.count():
        each = Disturbance([*WAYS][kills % len(WAYS)], (kills + 1) * more)
        code, said = nursery.said(argv, folder, each.at, each.how)
        with attempt(f"{WAYS[each.how][0]} of {argv[0]}") if code else nullcontext():
            assert code == 0 or each.held(argv[0], code, said), (each, code, said)
            now = kept(folder)
            assert {name: now.get(name) for name in finished} == finished, f"{case.name}: lost or done again"
            finished = now
        if code == 0:
            break
    else:
        return kills + 1
    found = case.result(folder)
    assert found == expected, f"{case.name}: {_differences(found, expected)}"
    return kills


def _fresh(case: Case, work: Path, name: str) -> tuple[Path, list[str]]:
    folder = work / f"{case.name}-{name}"
    folder.mkdir()
    case.prepare(folder)
    return folder, case.argv(folder)


def _undisturbed(nursery: Nursery, case: Case, work: Path) -> tuple[Any, int]:
    folder, argv = _fresh(case, work, "undisturbed")
    assert nursery.run(argv, folder) == 0, nursery.log.read_text()
    assert nursery.changes > 0
    return case.result(folder), nursery.changes


def _differences(found: Any, expected: Any) -> Any:
    """The names of what is not equal in two dictionaries; else what was found."""
    if not isinstance(found, dict):
        return found
    missing = object()
    return sorted(name for name in {*found, *expected} if found.get(name, missing) != expected.get(name, missing))
