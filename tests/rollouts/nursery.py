"""A process that has imported everything and forks children which run the real command line; see test_killed.py.

Reads JSON lines {"argv": [...], "log": path} and answers each with the child's process id, and then, when the child
has ended, with its exit status (negative: the signal). Importing takes seconds, forking does not: kills become cheap.
Arguments are further modules to import.
"""

import importlib
import json
import os
import sys

import torch
import transformers  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
from transformers.models.llama import modeling_llama  # noqa: F401

import erprm.cli.label
import erprm.engines.transformers
import erprm.rollouts.run  # noqa: F401
from erprm.cli import main


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
        importlib.import_module(name)
    for line in sys.stdin:
        job = json.loads(line)
        process = os.fork()
        if process == 0:
            child(job["argv"], job["log"])
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
