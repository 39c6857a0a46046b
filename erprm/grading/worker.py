"""The process that grades: started by the pool as its own program, told what to do through a pipe.

It reads pickled lists of `Task` from standard input and answers each list on (what was) standard output with lines of
ASCII: `ready` once the graders are imported, then `1`, `0` or `error MESSAGE` per task in order; `refused MESSAGE`
instead of `ready` for a grader that does not exist. A process of its own, not a fork, because forking a program with
threads (torch, vLLM, Ray) is unsafe; the pool kills it when an answer takes too long.
"""

from __future__ import annotations

import os
import pickle
import queue
import resource
import threading
import tokenize

from erprm.errors import InputError, MissingExtraError
from erprm.grading.verifiers import Task, Verifier, load

MEMORY_LIMIT = 4 * 2**30  # bytes of data: "9**9**9**9" is an answer that models give
# What a grader may raise on a strange answer: a verdict. Anything else ends the process, which the pool reports.
ANSWER_ERRORS = (ArithmeticError, AssertionError, AttributeError, BufferError, LookupError, MemoryError, NameError,
                 OSError, RuntimeError, SyntaxError, TypeError, ValueError, ImportError, StopIteration,
                 tokenize.TokenError)


def main() -> None:
    """Serve lists of tasks until standard input closes."""
    limit = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT if limit < 0 else min(limit, MEMORY_LIMIT), limit))
    # A grader may print; its output must not end up between the verdicts.
    out = os.dup(1)
    os.dup2(2, 1)
    lists: queue.SimpleQueue[list[Task]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lists,), daemon=True).start()
    graders: dict[str, Verifier] = {}
    while True:
        tasks = lists.get()
        try:
            for kind in {task.kind for task in tasks} - set(graders):
                graders[kind] = load(kind)
        except (InputError, MissingExtraError) as error:
            _say(out, f"refused {error}")
            continue
        _say(out, "ready")
        for task in tasks:
            try:
                _say(out, "1" if graders[task.kind](task) else "0")
            except ANSWER_ERRORS as error:
                _say(out, f"error {type(error).__name__}: {error}"[:200])


def _read(lists: queue.SimpleQueue[list[Task]]) -> None:
    """Take in lists as they come. The end of input means that the parent is gone, and then so is this process, even
    while it grades."""
    with os.fdopen(os.dup(0), "rb") as stream:
        while True:
            try:
                lists.put(pickle.load(stream))
            except EOFError:
                os._exit(0)


def _say(out: int, line: str) -> None:
    os.write(out, line.replace("\n", " ").encode("ascii", "replace") + b"\n")
