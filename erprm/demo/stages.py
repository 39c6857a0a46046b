"""Stages of a run that can be interrupted: each is done once, timed, and skipped when the run is started again.

    stages = Stages(Path("runs/demo"), {"seed": 0, "task": "countdown"})
    stages.run("problems", [lambda: write_problems(...)])
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from erprm.errors import InputError
from erprm.files.json_files import read_record, write_record
from erprm.files.writing import remove_unfinished


class Stages:
    """Keeps `stages.json` in the run's folder: the settings it was started with, and the seconds of finished stages."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Open the run in `folder`, or begin it, for one who holds its lock: what a killed one left unfinished goes.

        Raises:
            InputError: when the folder holds a run with other settings, naming the first that differs, or its
                stages.json is damaged.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, *folder.iterdir()):
            remove_unfinished(place)
        self._path = folder / "stages.json"
        self._console = Console(stderr=True, highlight=False)
        self.seconds: dict[str, float] = {}
        self._settings = dict(settings)
        if self._path.is_file():
            remedy = f"give another --out, or remove {folder}"
            record = read_record(self._path, remedy, ("settings", "seconds"))
            known, seconds = record["settings"], record["seconds"]
            if not isinstance(known, dict) or not isinstance(seconds, dict):
                raise InputError(f"{self._path}: expected settings and seconds of a run, found none; {remedy}")
            for name, value in self._settings.items():
                if known.get(name) != value:
                    raise InputError(f"{folder}: holds a run with {name} = {known.get(name)!r}, asked for {value!r}; "
                                     f"{remedy}")
            self.seconds = seconds

    def run(self, name: str, parts: Iterable[Callable[[], object]]) -> None:
        """Do the parts in turn unless the stage is finished; each leaves its result in files and may be begun again."""
        if name in self.seconds:
            self._console.print(f"[dim]{name}: done before, in {self.seconds[name]:.0f} s[/dim]")
            return
        self._console.print(f"[bold]{name}[/bold]")
        start = time.monotonic()
        for part in parts:
            part()
        self.seconds[name] = round(time.monotonic() - start, 1)
        write_record(self._path, {"settings": self._settings, "seconds": self.seconds})
