"""A process that has imported everything and forks children which run the real command line; see kill.py.

Reads JSON lines {"argv": [...], "log": path, "folder": path, "at": k, "how": what, "seconds": s} and answers each with
the child's process id, and then, when the child has ended, with its exit status (negative: the signal), how many
changes to files in `folder` it was about to make, and, where it ended by itself, the milliseconds of its CPU time.
Importing takes seconds, forking does not: kills become cheap. Arguments are further modules to import, and folders of
models to load once, after which transformers has compiled what it needs for that.

`how` is a way to be disturbed at the k-th change, or after so many seconds of the child's CPU time: the name of a
signal, "full", as on a disk that is full from then on (no file may grow any more), or "cut", as on one that is full
before a large file is written to its end.
"""

import gc
import importlib
import json
import mmap
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterable

import torch
import tqdm
import transformers  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
from transformers.models.llama import modeling_llama  # noqa: F401

import erprm.cli.label
import erprm.engines.transformers
import erprm.rollouts.run  # noqa: F401
from erprm.cli import main

_CHANGES = {"os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2,
            "os.truncate": 1, "shutil.rmtree": 1}  # audit event: how many of its arguments are paths
LIMITS = {"full": 0, "cut": 1 << 16}  # bytes of a file
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Changes:
    """An audit hook that counts this process's changes to files in a folder, and is disturbed at one of them.

    A change is a rename, removal, new folder or link, and the opening of a file for writing, which is two: before it,
    and behind it, when the file is there and empty. What native code writes (Arrow, safetensors) is not seen, the
    renames around it are.
    """

    def __init__(self, folder: str, at: int | None, how: str, count: mmap.mmap) -> None:
        self._folder, self._at, self._how, self._count = os.path.realpath(folder) + os.sep, at, how, count
        self._process, self._busy = os.getpid(), False

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._busy or os.getpid() != self._process:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITING and self._inside([path]):
                self._next()
                if self._about_to_die():
                    self._busy = True
                    os.close(os.open(path, flags, 0o644))  # type: ignore[arg-type]
                self._next()
        elif event in _CHANGES and self._inside(arguments[: _CHANGES[event]]):
            self._next()

    def _inside(self, paths: Iterable[object]) -> bool:
        return any(isinstance(path, (str, bytes, os.PathLike))
                   and (os.path.abspath(os.fsdecode(path)) + os.sep).startswith(self._folder) for path in paths)

    def _made(self) -> int:
        return int.from_bytes(self._count[:8], "little")

    def _about_to_die(self) -> bool:
        return self._made() + 1 == self._at and self._how == "SIGKILL"

    def _next(self) -> None:
        made = self._made() + 1
        self._count[:8] = made.to_bytes(8, "little")
        if made == self._at:
            disturb(self._how)


def disturb(how: str) -> None:
    """See the module."""
    if how in LIMITS:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMITS[how], resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    else:
        os.kill(os.getpid(), signal.Signals[how])


def child(argv: list[str], output: int, shared: mmap.mmap) -> None:
    """Run `erprm ...` with its output in a pipe. Does not return."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    code = main(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    shared[8:] = round(1000 * resource.getrusage(resource.RUSAGE_SELF).ru_utime).to_bytes(8, "little")
    os._exit(code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    tqdm.tqdm.set_lock(threading.RLock())  # its own is shared with all children: one killed with it stops the others
    for name in sys.argv[1:]:
        AutoModelForCausalLM.from_pretrained(name) if os.path.isdir(name) else importlib.import_module(name)
    gc.collect()
    gc.freeze()  # every training collects garbage, and would walk through all that is imported to do so
    shared = mmap.mmap(-1, 16)  # the child's count and time outlive it
    for line in sys.stdin:
        job = json.loads(line)
        shared[:] = bytes(16)
        said, output = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(said)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born ignoring it
            if job["folder"]:
                sys.addaudithook(Changes(job["folder"], job["at"], job["how"], shared))
            if job["seconds"]:
                signal.signal(signal.SIGVTALRM, lambda number, frame, how=job["how"]: disturb(how))
                signal.setitimer(signal.ITIMER_VIRTUAL, job["seconds"])
            child(job["argv"], output, shared)
        os.close(output)
        print(process, flush=True)
        with open(said, "rb", buffering=0) as pipe, open(job["log"], "ab", buffering=0) as log:
            while chunk := pipe.read(1 << 16):
                log.write(chunk)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]),
              *(int.from_bytes(shared[place: place + 8], "little") for place in (0, 8)), flush=True)
