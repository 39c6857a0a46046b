"""Progress of long work: a bar with rate and time left on a terminal, a line now and then elsewhere.

    with progress("labelling", total=len(prefixes), unit="prefixes") as bar:
        bar.advance(64, tokens=5120)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text


class Bar:
    """Counts finished units and any named extra quantities (tokens, completions), shown as totals and per second."""

    def __init__(self, label: str, total: int, unit: str, display: Progress | None, interval: float) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self.extras: dict[str, int] = {}
        self.note = ""  # shown behind the rates
        self._start = self._last = time.monotonic()
        self._display, self._interval = display, interval
        self._task: TaskID | None = (
            display.add_task(label, total=total, detail="", unit=unit) if display else None)

    def advance(self, units: int = 1, **extras: int) -> None:
        """`units` more are done; keyword arguments add to the named quantities."""
        self.done += units
        for name, value in extras.items():
            self.extras[name] = self.extras.get(name, 0) + value
        if self._display is not None and self._task is not None:
            self._display.update(self._task, completed=self.done, detail=self.detail())
        elif time.monotonic() - self._last >= self._interval:
            self._last = time.monotonic()
            print(self.line(), file=sys.stderr, flush=True)

    def resize(self, total: int) -> None:
        """There turned out to be more or less to do."""
        self.total = total
        if self._display is not None and self._task is not None:
            self._display.update(self._task, total=total)

    def detail(self) -> str:
        """"12.3 prefixes/s, 981 tokens/s"."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        parts = [f"{self.done / seconds:,.1f} {self.unit}/s"]
        parts += [f"{value / seconds:,.0f} {name.replace('_', ' ')}/s" for name, value in self.extras.items()]
        parts += [self.note] if self.note else []
        return ", ".join(parts)

    def line(self) -> str:
        """One line of plain text with the rate and the time left."""
        seconds = time.monotonic() - self._start
        left = seconds / self.done * (self.total - self.done) if self.done else float("nan")
        return f"{self.label}: {self.done:,}/{self.total:,} {self.unit}, {self.detail()}, {left:,.0f} s left"


class _Display(Progress):
    """The bar, and below it the rates and the note: beside it they would push it and the time left off the screen."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield from (Text(task.fields["detail"]) for task in self.tasks)


@contextmanager
def progress(label: str, total: int, unit: str = "items", interval: float = 10.0) -> Iterator[Bar]:
    """A progress bar on standard error; where that is no terminal, one line every `interval` seconds and at the end."""
    console = Console(stderr=True)
    if not console.is_terminal:
        bar = Bar(label, total, unit, None, interval)
        yield bar
        print(bar.line(), file=sys.stderr, flush=True)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f}/{task.total:,.0f} "
               "{task.fields[unit]}"), TimeElapsedColumn(), TextColumn("so far,"), TimeRemainingColumn(),
               TextColumn("left"))
    with _Display(*columns, console=console) as display:
        yield Bar(label, total, unit, display, interval)
