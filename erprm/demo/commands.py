"""Commands of `erprm` as parts of a stage: printed as one would type them, and run as if one had.

    command("sft", model=untrained, data=shown, out=policy, max_steps=1500)()
    together([command("train", ...), command("train", ...)], logs)()        # side by side, where there are cores
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erprm import cli
from erprm.errors import InputError
from erprm.files.progress import progress

_PARENT_DEATH = 1  # of prctl(2)
_POLL = 0.1  # seconds
_CHILD = "import sys; from erprm.demo.commands import child; sys.exit(child(int(sys.argv[1]), sys.argv[2:]))"


@dataclass(frozen=True)
class Command:
    """A command of `erprm` with its arguments."""

    name: str
    arguments: tuple[str, ...]

    def __call__(self) -> None:
        """Say what is run, and run it."""
        print(f"$ {self}", file=sys.stderr)
        cli.run(self.name, self.arguments)

    def __str__(self) -> str:
        return f"erprm {self.name} {shlex.join(self.arguments)}"


def command(name: str, **options: Any) -> Command:
    """`erprm sft --max-steps 30 --bf16` of command("sft", max_steps=30, bf16=True)."""
    return Command(name, tuple(text for option, value in options.items()
                               for text in (f"--{option.replace('_', '-')}", *_texts(value))))


def _texts(value: Any) -> tuple[str, ...]:
    if value is True:
        return ()
    return tuple(map(str, value)) if isinstance(value, tuple) else (str(value),)


def together(commands: Sequence[Command], logs: Path) -> Callable[[], None]:
    """A part that runs commands which don't wait for each other, as many at once as there are threads for.

    Small models leave most of a second thread idle: two commands with a thread each are nearly twice as fast as one
    after the other with two. Each is a process of its own, ends with this one, and writes what it says into a file of
    `logs`. With one thread (OMP_NUM_THREADS=1), or a GPU to be shared, they run here, in turn.

    Raises:
        InputError: with the last line of the first one that fails, when the others have been stopped.
    """
    threads = _threads()

    def in_turn() -> None:
        for each in commands:
            each()

    def side_by_side() -> None:
        logs.mkdir(parents=True, exist_ok=True)
        waiting, running = list(enumerate(commands, start=1)), dict[Path, subprocess.Popen[bytes]]()
        environment = os.environ | {"OMP_NUM_THREADS": str(max(1, threads // len(commands)))}
        with progress("side by side", len(commands), "commands") as bar:
            try:
                while waiting or running:
                    while waiting and len(running) < threads:
                        number, each = waiting.pop(0)
                        log = logs / f"{number}-{each.name}.txt"
                        print(f"$ {each} > {log}", file=sys.stderr)
                        running[log] = _started(each, log, environment)
                    time.sleep(_POLL)
                    for log in [log for log, process in running.items() if process.poll() is not None]:
                        if code := running.pop(log).returncode:
                            raise InputError(f"{_last_line(log)} (exit code {code}, the rest in {log})")
                        bar.advance()
            finally:
                for process in running.values():
                    process.terminate()
                for process in running.values():
                    process.wait()

    return in_turn if threads == 1 else side_by_side


def _threads() -> int:
    """Those that commands may share; 1 where a GPU does the work."""
    import torch

    return 1 if torch.cuda.is_available() else torch.get_num_threads()


def _started(each: Command, log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as said:
        return subprocess.Popen([sys.executable, "-c", _CHILD, str(os.getpid()), each.name, *each.arguments],
                                stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment, process_group=0)


def child(parent: int, arguments: Sequence[str]) -> int:
    """The life of one of them, which ends with `parent`'s however that ends: no orphan keeps the lock of its output."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL, 0, 0, 0)
    return cli.main(arguments) if os.getppid() == parent else 1


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    return next((line for line in reversed(lines) if line.strip()), f"{log.stem}: said nothing")
