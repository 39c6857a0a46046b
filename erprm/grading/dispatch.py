"""Worker processes: lists of tasks out, verdicts in, each worker killed when one answer takes too long.

The parent never waits for a single worker: it selects on all their pipes, with the nearest deadline as the limit.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
import secrets
import selectors
import signal
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from erprm.errors import InputError
from erprm.grading.verifiers import Reading, Task
from erprm.grading.worker import FORGED, WITH_NETWORK

START_SECONDS = 300.0  # for imports, on a machine that is busy with a model
LARGEST_LIST = 128  # tasks a list: their replies fit into a pipe


@dataclass(frozen=True, slots=True)
class Outcome:
    """A reward in [0, 1], why an answer is wrong besides not being equal ("", "timeout", "crash", "said more than
    asked", "error: ..."), and what a text that was only read states."""

    reward: float
    reason: str = ""
    answer: str | None = None


Take = Callable[[int, Outcome], None]


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: int  # where its verdicts come from
    nonce: bytes = b""  # begins each line about the list in hand
    tasks: list[int] = field(default_factory=list)  # indices of the list in hand
    done: int = 0
    ready: bool = False  # has imported the graders of the list in hand
    deadline: float = 0.0
    buffer: bytes = b""
    forged: bool = False  # a line without the nonce came


class Workers:
    """At most `count` processes, `timeout` seconds an answer; started when needed, ended with the program."""

    def __init__(self, count: int, timeout: float) -> None:
        self.count, self.timeout = count, timeout
        self._idle: list[_Worker] = []
        self._owner = os.getpid()
        self._finalizer = weakref.finalize(self, _end, self._idle)

    def run(self, tasks: Sequence[Task | Reading], take: Take) -> None:
        """Call `take(index, outcome)` for every task, as they come.

        Interrupted, it takes what the workers have said so far. Raises InputError for a grader that does not exist.
        """
        if not tasks:
            return
        if self._owner != os.getpid():  # in a fork: these are the parent's workers
            self._idle.clear()
            self._owner = os.getpid()
        size = max(1, min(LARGEST_LIST, len(tasks) // (4 * self.count)))
        lists = deque(list(range(start, min(start + size, len(tasks)))) for start in range(0, len(tasks), size))
        crashed: set[int] = set()
        busy: dict[int, _Worker] = {}
        try:
            while lists or busy:
                while lists and len(busy) < self.count:
                    worker = self._idle.pop() if self._idle else _start()
                    busy[worker.pipe] = worker
                    self._send(worker, lists.popleft(), tasks)
                for worker in _wait(busy):
                    self._receive(worker, lists, crashed, take)
                    if worker.process.returncode is not None:
                        del busy[worker.pipe]
                        _close_pipes(worker)
                    elif worker.done == len(worker.tasks):
                        del busy[worker.pipe]
                        self._idle.append(worker)
        finally:
            try:
                for worker in busy.values():  # interrupted: what they were doing is no longer wanted, what they did is
                    worker.buffer += os.read(worker.pipe, 1 << 16) if _readable(worker) else b""
                    _take_verdicts(worker, take)
            finally:
                _end(list(busy.values()), kill=True)

    def close(self) -> None:
        """End the idle workers."""
        _end(self._idle)

    def _send(self, worker: _Worker, indices: list[int], tasks: Sequence[Task | Reading]) -> None:
        worker.tasks, worker.done, worker.ready = indices, 0, False
        worker.nonce = secrets.token_hex(16).encode()
        worker.deadline = time.monotonic() + START_SECONDS
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(pickle.dumps((worker.nonce, [tasks[index] for index in indices])))
            worker.process.stdin.flush()
        except BrokenPipeError:
            worker.deadline = time.monotonic() + START_SECONDS  # it has died; the end of its output says so

    def _receive(self, worker: _Worker, lists: deque[list[int]], crashed: set[int], take: Take) -> None:
        """Take what a worker has said; end it when it is dead or late, and put what it leaves undone back."""
        late = time.monotonic() >= worker.deadline
        chunk = b"" if late and not _readable(worker) else os.read(worker.pipe, 1 << 16)
        worker.buffer += chunk
        _take_verdicts(worker, take)
        if chunk and not worker.forged:
            if worker.ready:
                worker.deadline = time.monotonic() + self.timeout
            return
        _kill(worker)
        if not worker.ready and not worker.forged:
            raise RuntimeError(f"a grading process {'did not start in time' if late else 'ended while it started'}; "
                               "its message is above")
        guilty, rest = worker.tasks[worker.done], worker.tasks[worker.done + 1:]
        if worker.forged:
            take(guilty, Outcome(0.0, FORGED))
        elif late:
            take(guilty, Outcome(0.0, "timeout"))
        elif guilty in crashed:
            take(guilty, Outcome(0.0, "crash"))
        else:
            crashed.add(guilty)  # once more, alone: the process may have been killed from outside
            lists.append([guilty])
        if rest:
            lists.append(rest)


def _take_verdicts(worker: _Worker, take: Take) -> None:
    """Take the whole lines of the buffer, each out of it only afterwards: an interruption loses none."""
    while b"\n" in worker.buffer:
        line, _, rest = worker.buffer.partition(b"\n")
        nonce, _, said = line.partition(b" ")
        if nonce != worker.nonce or worker.done >= len(worker.tasks):
            worker.forged = True
            return
        word, _, message = said.decode("ascii").partition(" ")
        if word == "refused":
            raise InputError(message)
        if word == "ready":
            worker.ready = True
            if message == WITH_NETWORK:
                _say_once()
        else:
            reason = message if message == FORGED else f"error: {message}"
            reward = 0.0 if word in ("error", "answer") else float(word)
            take(worker.tasks[worker.done], Outcome(reward, reason if word == "error" else "",
                                                    json.loads(message) if word == "answer" else None))
        worker.done, worker.buffer = worker.done + (word != "ready"), rest


@functools.cache
def _say_once() -> None:
    """That graders are less isolated here than docs/grading.md says."""
    print("grading: this system does not let a process leave the network: verifiers can reach it", file=sys.stderr)


def _start() -> _Worker:
    pipe, theirs = os.pipe()
    # Its own modules come first, then what this program finds, so that no file of the working folder takes their place.
    places = [path or os.getcwd() for path in sys.path]
    code = "import sys; sys.path += sys.argv[2:]; from erprm.grading.worker import main; main(int(sys.argv[1]))"
    # A session of its own: Ctrl-C reaches this program alone, which then ends its workers in order.
    process = subprocess.Popen([sys.executable, "-P", "-c", code, str(theirs), *places], pass_fds=(theirs,),
                               stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
                               env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    os.close(theirs)
    return _Worker(process, pipe)


def _kill(worker: _Worker) -> None:
    """With its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()


def _wait(busy: dict[int, _Worker]) -> list[_Worker]:
    """The workers that have said something, ended, or are late."""
    with selectors.DefaultSelector() as selector:
        for pipe in busy:
            selector.register(pipe, selectors.EVENT_READ)
        nearest = min(worker.deadline for worker in busy.values())
        said = {key.fd for key, _ in selector.select(max(0.0, nearest - time.monotonic()))}
    now = time.monotonic()
    return [worker for pipe, worker in busy.items() if pipe in said or now >= worker.deadline]


def _readable(worker: _Worker) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(worker.pipe, selectors.EVENT_READ)
        return bool(selector.select(0))


def _end(workers: list[_Worker], kill: bool = False) -> None:
    while workers:
        worker = workers.pop()
        if kill:
            _kill(worker)
        _close_pipes(worker)  # the end of its input ends the process
        worker.process.wait()


def _close_pipes(worker: _Worker) -> None:
    os.close(worker.pipe)
    assert worker.process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # what was still to be written has no reader any more
        worker.process.stdin.close()
