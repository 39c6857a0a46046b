"""Commands killed (a real SIGKILL) at each change that they make to files, started again, and compared.

    with Nursery(tmp_path / "log", "erprm.cli.score") as nursery:
        survives(nursery, Case(prepare, argv, result), tmp_path)

The command runs once undisturbed, which counts its changes: files opened for writing, renames, removals, new folders.
Then, for each of them, in a fresh folder, it is killed at that change and run again with the same arguments: it must
end well, and what `result` reads must be what the undisturbed run left.
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

from attack.counts import attempt


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

    def start(self, argv: list[str], folder: Path | None = None, kill_at: int | None = None) -> int:
        """Begin `erprm ARGV`; returns its process id.

        Args:
            folder: changes to files in it are counted.
            kill_at: the child dies of SIGKILL at this change, counted from 1.
        """
        assert self._process.stdin
        job = {"argv": argv, "log": str(self.log), "folder": str(folder or ""), "kill_at": kill_at}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._answer()[0]

    def status(self) -> int:
        """Wait for the child: its exit status, negative for the signal that ended it."""
        status, self.changes = self._answer()
        return status

    def run(self, argv: list[str], folder: Path | None = None, kill_at: int | None = None) -> int:
        """`start`, then `status`."""
        self.start(argv, folder, kill_at)
        return self.status()

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
class Case:
    """A command that must survive being killed anywhere.

    Attributes:
        name: of the case, as pytest shows it.
        prepare: writes the inputs into a folder.
        argv: the command for that folder.
        result: what a finished run left in the folder, as something that can be compared.
        whole: called after each kill; asserts about what lies in the folder then.
        most: kills to try at most, spaced evenly from the first change to the last.
        refused: what the command says when it is run again and its output is there whole, where it then does not end
            well; only that may stand in the way of going on.
    """

    name: str
    prepare: Callable[[Path], object]
    argv: Callable[[Path], list[str]]
    result: Callable[[Path], Any]
    whole: Callable[[Path], object] = lambda folder: None
    most: int = 40
    refused: str = ""


def survives(nursery: Nursery, case: Case, work: Path) -> int:
    """Kill `case` at its changes and compare what is left when it has gone on; returns how many changes it makes."""
    expected, changes = _undisturbed(nursery, case, work)
    places = sorted({1 + round(index * (changes - 1) / (case.most - 1)) for index in range(case.most)})
    for place in places:
        with attempt(f"kills of {case.argv(work)[0]}"):
            folder, argv = _fresh(case, work, str(place))
            assert nursery.run(argv, folder, place) == -signal.SIGKILL, (place, nursery.log.read_text())
            case.whole(folder)
            before = nursery.log.stat().st_size
            code, said = nursery.run(argv, folder), nursery.log.read_bytes()[before:].decode()
            assert code == 0 or (code == 2 and case.refused and case.refused in said), (place, code, said)
            found = case.result(folder)
            assert found == expected, (f"{case.name}: killed at change {place} of {changes}: "
                                       f"{_differences(found, expected)}")
    return changes


def goes_on(nursery: Nursery, case: Case, kept: Callable[[Path], dict[str, Any]], work: Path, more: int,
            most: int | None = None) -> int:
    """Kill `case` again and again in one folder, at change `more`, then 2 x `more` and so on of the run that goes on,
    until a run comes to its end before: for long commands, of which each run does what is left.

    Args:
        kept: what is finished, as something that no later run may change or lose.
        most: stop after so many kills, with what is kept.
    """
    expected = None if most else _undisturbed(nursery, case, work)[0]
    folder, argv = _fresh(case, work, "killed")
    finished: dict[str, Any] = {}
    for kills in range(most) if most else itertools.count():
        code = nursery.run(argv, folder, (kills + 1) * more)
        with attempt(f"kills of {argv[0]}") if code else nullcontext():
            assert code in (0, -signal.SIGKILL), nursery.log.read_text()
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
