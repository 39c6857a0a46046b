"""The process that grades: started by the pool as its own program, told what to do through a pipe.

It reads pickled (nonce, list of `Task` or `Reading`) from standard input and answers each list on a pipe of its own
with lines of ASCII, each begun by the list's nonce: `ready` once the graders are imported, then a reward from `0` to
`1`, `answer JSON` or `error MESSAGE` for each in order; `refused MESSAGE` instead of `ready` for a grader that does not
exist.

It is a process of its own, not a fork, because forking a program with threads (torch, vLLM, Ray) is unsafe; the pool
kills it when an answer takes too long.

Verifiers that are others' code judge answers one process further down, in a child, which has no way to the pipe, no
network, and little memory and few files to spend. It says one line an answer to this process; where it says anything
else, or more, the answer is wrong. reasoning-gym's verifiers, which never run what an answer says, judge a list in one
child (a fork of this process, with all that it has imported, takes 20 times as long as a verdict); a user's function
has a child for each answer, and its changes to memory end with it: what it needs it loads when imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import pickle
import queue
import re
import resource
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence

from erprm.errors import InputError, MissingExtraError
from erprm.grading.graders import grader_of
from erprm.grading.verifiers import ANSWER_ERRORS, Reading, Task, Verifier, load

MEMORY_LIMIT = 4 * 2**30  # bytes of data: "9**9**9**9" is an answer that models give
FILE_LIMIT = 2**24  # bytes of a file that a child writes
LONGEST_LINE = 300  # bytes of what a child says about one answer
FORGED = "said more than asked"
WITH_NETWORK = "with network"
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # of unshare(2)
_PARENT_DEATH, _DUMPABLE, _NO_NEW_PRIVILEGES = 1, 4, 38  # of prctl(2)
_CAPABILITIES_3 = 0x20080522  # of capset(2)
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(out: int) -> None:
    """Serve lists of tasks until standard input closes; verdicts go to the descriptor `out`."""
    _limit(resource.RLIMIT_DATA, MEMORY_LIMIT)
    os.set_inheritable(out, False)
    _LIBC.prctl(_DUMPABLE, 0, 0, 0, 0)  # its descriptors and memory are closed to its children
    isolated = _without_network()
    lists: queue.SimpleQueue[tuple[bytes, list[Task | Reading]]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lists,), daemon=True).start()
    graders: dict[str, Verifier] = {}
    while True:
        nonce, tasks = lists.get()
        try:
            for kind in {task.kind for task in tasks if isinstance(task, Task)} - set(graders):
                graders[kind] = load(kind)
        except (InputError, MissingExtraError) as error:
            _say(out, nonce, f"refused {error}")
            continue
        _say(out, nonce, "ready" if isolated else f"ready {WITH_NETWORK}")
        for _, alike in itertools.groupby(tasks, lambda task: (type(task), task.kind)):
            for line in _said(list(alike), graders):
                _say(out, nonce, line)


def _said(tasks: Sequence[Task | Reading], graders: Mapping[str, Verifier]) -> Iterator[str]:
    """The line about each of these tasks of one kind, as it comes."""
    yield from map(_answer, (task for task in tasks if isinstance(task, Reading)))
    answers = [task for task in tasks if isinstance(task, Task)]
    if answers:
        yield from _verdicts(answers[0].kind, graders[answers[0].kind], answers)


def _verdicts(kind: str, grader: Verifier, tasks: Sequence[Task]) -> Iterator[str]:
    """What a grader says of each answer, as it comes."""
    if grader_of(kind).compare is not None:
        yield from (_verdict(grader, task) for task in tasks)
        return
    size, done = 1 if grader_of(kind).runs_code else len(tasks), 0
    while done < len(tasks):
        for line in _in_child(grader, tasks[done:done + size]):
            done += 1
            yield line


def _answer(task: Reading) -> str:
    try:
        return "answer " + json.dumps(task.extraction.reader(task.kind)(task.text))
    except ANSWER_ERRORS as error:
        return f"error {type(error).__name__}: {error}"[:200]


def _verdict(grader: Verifier, task: Task) -> str:
    try:
        return f"{grader(task):.17g}"
    except ANSWER_ERRORS as error:
        return f"error {type(error).__name__}: {error}"[:200]


def _in_child(grader: Verifier, tasks: Sequence[Task]) -> Iterator[str]:
    """What a child says about these answers, a line each; it ends early behind a line that is no verdict.

    What the child inherits of this process's memory it cannot write anywhere: the pipe of verdicts is closed to it.
    """
    from_child, to_parent = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(to_parent, 3)
        os.closerange(4, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        _child(grader, tasks)
    os.close(to_parent)
    said, chunk = b"", b" "
    try:
        for number in range(1, len(tasks) + 1):
            # Behind the last one comes the end, or it said more than asked.
            while chunk and len(said) <= LONGEST_LINE and (number == len(tasks) or b"\n" not in said):
                chunk = os.read(from_child, 1 << 12)
                said += chunk
            if not said:
                os._exit(3)  # the child died: to the pool this process did, with the answer in hand
            found, newline, said = said.partition(b"\n")
            if not (newline and _is_verdict(found)) or (said and number == len(tasks)):
                yield f"error {FORGED}"
                return
            yield found.decode("ascii")
    finally:
        os.close(from_child)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _child(grader: Verifier, tasks: Sequence[Task]) -> None:
    """The child's life: verdicts on descriptor 3."""
    _LIBC.prctl(_PARENT_DEATH, signal.SIGKILL, 0, 0, 0)
    _LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    # Without capabilities not even root reaches into the process above, which is not dumpable.
    _LIBC.capset((ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)())
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    for which, limit in ((resource.RLIMIT_NPROC, 0), (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_FSIZE, FILE_LIMIT),
                         (resource.RLIMIT_CORE, 0)):
        _limit(which, limit)
    try:
        for task in tasks:
            os.write(3, _verdict(grader, task).replace("\n", " ").encode("ascii", "replace") + b"\n")
    finally:
        os._exit(0)


def _is_verdict(line: bytes) -> bool:
    return re.fullmatch(rb"0|1|0\.\d+|\d(\.\d+)?e-\d+", line) is not None or line.startswith(b"error ")


def _limit(which: int, limit: int) -> None:
    soft, hard = resource.getrlimit(which)
    known = [value for value in (soft, hard, limit) if value >= 0]
    resource.setrlimit(which, (min(known), hard))


def _without_network() -> bool:
    """Leave this machine's network for an empty one; False where the system does not allow it."""
    return any(_LIBC.unshare(flags) == 0 for flags in (_NEW_NETWORK, _NEW_USER | _NEW_NETWORK))


def _read(lists: queue.SimpleQueue[tuple[bytes, list[Task | Reading]]]) -> None:
    """Take in lists as they come. The end of input means that the parent is gone, and then so is this process, even
    while it grades."""
    with os.fdopen(os.dup(0), "rb") as stream:
        while True:
            try:
                lists.put(pickle.load(stream))
            except EOFError:
                os._exit(0)


def _say(out: int, nonce: bytes, line: str) -> None:
    data = nonce + b" " + line.replace("\n", " ").encode("ascii", "replace") + b"\n"
    while data:
        data = data[os.write(out, data):]
