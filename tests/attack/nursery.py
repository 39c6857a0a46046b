"""A process that has imported everything and forks children which run the real command line; see kill.py.

Reads JSON lines {"argv": [...], "log": path, "folder": path, "kill_at": k} and answers each with the child's process
id, and then, when the child has ended, with its exit status (negative: the signal) and how many changes to files in
`folder` it was about to make. Importing takes seconds, forking does not: kills become cheap. Arguments are further
modules to import, and folders of models to load once, after which transformers has compiled what it needs for that.
"""

import importlib
import json
import mmap
import os
import signal
import sys
from collections.abc import Iterable

import torch
import transformers  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
from transformers.models.llama import modeling_llama  # noqa: F401

import erprm.cli.label
import erprm.engines.transformers
import erprm.rollouts.run  # noqa: F401
from erprm.cli import main

_CHANGES = {"os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2,
            "os.truncate": 1, "shutil.rmtree": 1}  # audit event: how many of its arguments are paths
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Changes:
    """An audit hook that counts this process's changes to files in a folder, and dies at one of them.

    A change is a rename, removal, new folder or link, and the opening of a file for writing, which is two: before it,
    and behind it, when the file is there and empty. What native code writes (Arrow, safetensors) is not seen, the
    renames around it are.
    """

    def __init__(self, folder: str, kill_at: int | None, count: mmap.mmap) -> None:
        self._folder, self._kill_at, self._count = os.path.realpath(folder) + os.sep, kill_at, count
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
        return self._made() + 1 == self._kill_at

    def _next(self) -> None:
        made = self._made() + 1
        self._count[:8] = made.to_bytes(8, "little")
        if made == self._kill_at:
            os.kill(self._process, signal.SIGKILL)


def child(argv: list[str], log: str) -> None:
    """Run `erprm ...` with its output in a file. Does not return."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    code = main(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        AutoModelForCausalLM.from_pretrained(name) if os.path.isdir(name) else importlib.import_module(name)
    shared = mmap.mmap(-1, 8)  # the child's count outlives it
    for line in sys.stdin:
        job = json.loads(line)
        shared[:8] = bytes(8)
        process = os.fork()
        if process == 0:
            if job["folder"]:
                sys.addaudithook(Changes(job["folder"], job["kill_at"], shared))
            child(job["argv"], job["log"])
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), int.from_bytes(shared[:8], "little"), flush=True)
