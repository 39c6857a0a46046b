"""`erprm COMMAND [options]`: one module per command, imported only when it is called."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

from erprm.cli.interrupts import Terminated, interruptible
from erprm.errors import InputError, MissingExtraError
from erprm.terminal import printable

COMMANDS = {
    "sft": "teach a policy step-by-step solutions",
    "sample": "sample solutions to problems from a policy",
    "label": "sample completions from every prefix and count the right ones",
    "grade": "grade solutions that you already have",
    "judge": "say which step of each solution is the first wrong one",
    "filter": "keep rows on which Monte Carlo and a judge agree",
    "train": "train a process reward model",
    "score": "score every step of solutions",
    "evaluate": "best-of-N curves, ProcessBench, PRMBench, calibration",
    "raft": "fine-tune the policy on its best-scored solutions",
    "dpo": "prefer better-scored solutions, and steps, to worse ones",
    "grpo": "reinforce the policy under the process reward model",
    "guide": "decode under the process reward model: beam, DVTS, guided, particles",
    "search-bench": "compare searches at equal compute: accuracy against tokens",
    "convert": "read one public format, write another",
    "serve": "step scores and rewards over HTTP, with a page to look at",
    "export": "write a trained model in the forms that others load",
    "audit": "list answers on which two graders disagree",
    "doctor": "check tokens, tags and rows before training",
    "bench": "run or compare benchmarks",
    "profile": "profile a named step, with a table per kernel",
    "study": "many small experiments in a table, seeds apart",
    "demo": "the whole experiment in miniature, with a report",
}


def program() -> int:
    """`main` for a process of its own: Ctrl-C while the interpreter shuts down ends it without a traceback."""
    code = main()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """The `erprm` command; returns the exit code: 0, 2 for bad input, 130 or 143 when interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without a character shows its code
    if not arguments or arguments[0] in ("-h", "--help") or arguments[0] not in COMMANDS:
        return _overview(arguments)
    command = arguments[0]
    debug = "--debug" in arguments
    try:
        with interruptible():
            code = run(command, arguments[1:])
            _finish_output()
            return code
    except (InputError, MissingExtraError, OSError) as error:
        if debug:
            raise
        _close_bars()
        print(f"erprm {command}: error: {one_line(error)}", file=sys.stderr)
        with contextlib.suppress(OSError):
            _finish_output()
        return 2
    except KeyboardInterrupt as error:
        _close_bars()
        word, code = ("terminated", 143) if isinstance(error, Terminated) else ("interrupted", 130)
        print(f"\nerprm {command}: {word}; what was committed is kept, run the same command to go on", file=sys.stderr)
        return code


def _close_bars() -> None:
    """End the lines of progress bars that others' code left open (transformers' trainers do, where training fails)."""
    if "tqdm" in sys.modules:
        for bar in list(sys.modules["tqdm"].tqdm._instances):
            bar.close()


def _finish_output() -> None:
    """Write what is left of the output. Where nobody takes it (a closed pipe, a full disk), the interpreter doesn't
    try again at its end. Raises OSError."""
    try:
        if sys.stdout is not None:  # as where it was closed from the beginning
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def one_line(error: BaseException) -> str:
    """An error's message on one line, without what could steer a terminal: it may quote others' text."""
    return printable(" ".join(str(error).split()))


def module_of(command: str) -> ModuleType:
    """The module of one of `COMMANDS`."""
    return importlib.import_module(f"erprm.cli.{command.replace('-', '_')}")


def run(command: str, arguments: Sequence[str]) -> int:
    """Run one of `COMMANDS` with its arguments; returns the exit code. Raises what the command raises."""
    from erprm.cli import config

    module = module_of(command)
    parser = config.Parser(prog=f"erprm {command}", description=module.__doc__, allow_abbrev=False,
                           formatter_class=argparse.RawDescriptionHelpFormatter)
    config.add_arguments(parser, module.Config)
    parser.add_argument("--config", metavar="FILE", help="YAML recipe; flags override it")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    given = config.parse(parser, arguments)
    options = config.load(module.Config, command, given, given.config, COMMANDS)
    config.check_outputs(options)
    return module.run(options) or 0


def _overview(arguments: list[str]) -> int:
    lines = ["usage: erprm COMMAND [options]", "", "commands:"]
    lines += [f"  {name:12} {text}" for name, text in COMMANDS.items()]
    lines += ["", "erprm COMMAND --help explains one command; every command takes --config FILE.yaml"]
    text = "\n".join(lines)
    if arguments and arguments[0] not in ("-h", "--help"):
        import difflib

        close = difflib.get_close_matches(arguments[0], COMMANDS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        print(f"erprm: error: unknown command {arguments[0]!r}{hint} ('erprm --help' lists them)", file=sys.stderr)
        return 2
    print(text)
    return 0
