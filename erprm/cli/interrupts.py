"""SIGTERM ends a command as Ctrl-C does: what it was writing is removed or finished, and one line says how to go on.

    with interruptible():
        run(command, arguments)                         # raises KeyboardInterrupt, or Terminated, which is one
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

_MOMENT = 0.05  # seconds


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM raises Terminated inside the block, and neither it nor KeyboardInterrupt is lost.

    Off the main thread, and under a launcher of several processes, which ends them itself, SIGTERM is left alone.
    """
    if threading.current_thread() is not threading.main_thread() or "RANK" in os.environ:
        yield
        return
    ignored, before = sys.unraisablehook, signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _again(ignored)
    try:
        yield
    finally:
        sys.unraisablehook = ignored
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: object) -> NoReturn:
    raise Terminated


def _again(otherwise: Callable[[sys.UnraisableHookArgs], object]) -> Callable[[sys.UnraisableHookArgs], None]:
    """A hook for errors where Python can't raise them, in a destructor or a callback: an interruption comes again, once
    that is over."""
    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            number = signal.SIGTERM if isinstance(unraisable.exc_value, Terminated) else signal.SIGINT
            threading.Timer(_MOMENT, _thread.interrupt_main, (number,)).start()
        else:
            otherwise(unraisable)

    return hook
