"""A folder that one command fills: one writer, the same settings whenever it goes on, and nothing to do once finished.

    with run_folder("runs/prm", {"eta": 2.0, "data": digest_of("rows.parquet")}) as run:
        if not run.finished:
            run.check(started=False)
            run.begin()
            ...
            run.finish()

`run.json` in the folder holds the settings and whether the run is finished.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from erprm.errors import InputError
from erprm.files.json_files import read_record, write_record
from erprm.files.writing import locked, remove_unfinished

FILE_NAME = "run.json"
_REMEDY = "give another --out, or remove the folder"
_BLOCKS, _BLOCK = 64, 1 << 16  # of each file of a model, besides its beginning


class RunFolder:
    """See the module; made by `run_folder`, which holds the lock."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self.settings = folder, json.loads(json.dumps(settings))
        self._path = folder / FILE_NAME
        self._known = _read(self._path)
        self.finished = bool(self._known.get("finished")) and not self.differences()

    def differences(self) -> list[str]:
        """"eta = 2.0 there, 10.0 asked for" for each setting in which the run in the folder differs."""
        known = self._known.get("settings", {})
        return [f"{name} = {known.get(name)!r} there, {value!r} asked for" for name, value in self.settings.items()
                if known.get(name) != value]

    def check(self, started: bool) -> None:
        """Whether a run with these settings may write here.

        Args:
            started: there is something in the folder that the run would go on with.

        Raises:
            InputError: when a run with other settings has left something there, naming what differs; when a model lies
                there that no run wrote.
        """
        if not self._known and (started or (self.folder / "config.json").exists()):
            raise InputError(f"{self.folder}: holds a model or checkpoints, but no {FILE_NAME} that tells how they "
                             "were made; give another --out")
        differences = self.differences() if started or self._known.get("finished") else []
        if differences:
            raise InputError(f"{self.folder}: holds a run with other settings: {'; '.join(differences)}; "
                             f"{_REMEDY}")

    def begin(self) -> None:
        """Claim the folder for these settings, and remove what a killed run left unfinished."""
        remove_unfinished(self.folder)
        self._write(finished=False)

    def finish(self) -> None:
        """Note that all is done."""
        self._write(finished=True)

    def _write(self, finished: bool) -> None:
        write_record(self._path, {"settings": self.settings, "finished": finished})


@contextmanager
def run_folder(folder: str | Path, settings: Mapping[str, Any]) -> Iterator[RunFolder]:
    """The folder, locked. Raises InputError when another process writes to it, or its `run.json` can't be read."""
    with locked(folder):
        yield RunFolder(Path(folder), settings)


def run_once(config: Any, files: Iterable[str], work: Callable[[], object], left_out: Iterable[str] = ()) -> None:
    """Have `work` fill the folder `config.out`, unless a run with these settings has done so; say where.

    Args:
        config, files, left_out: as for `settings_of`.

    Raises:
        InputError: as `RunFolder.check`; when another process writes there.
    """
    with run_folder(config.out, settings_of(config, files, left_out)) as folder:
        if folder.finished:
            print(f"{config.out}: this run is finished; nothing to do")
            return
        folder.check(started=False)
        folder.begin()
        work()
        folder.finish()
    print(f"wrote {config.out}")


def settings_of(config: Any, files: Iterable[str], left_out: Iterable[str] = ()) -> dict[str, Any]:
    """The fields of a dataclass as settings of a run; what lies at `files` by its content, without `left_out`."""
    names, omitted = set(files), {"out", "dry_run", "report_to", *left_out}
    values = {item.name: getattr(config, item.name) for item in dataclasses.fields(config) if item.name not in omitted}
    return {name: digest_of(value) if name in names and value else value for name, value in values.items()}


def digest_of(path: str | Path) -> str:
    """A text that differs between files or folders of other content; a path that isn't there (a hub name) is itself.

    Of large files in a folder (weights), the beginning and 64 blocks are looked at, and the size.
    """
    path = Path(path)
    digest = hashlib.blake2b(digest_size=16)
    if path.is_file():
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    elif path.is_dir():
        for item in sorted(path.iterdir()):
            if item.is_file() and item.name[0] != "." and item.name != FILE_NAME:
                digest.update(f"{item.name}\0{item.stat().st_size}\0".encode("utf-8", "surrogateescape"))
                _sample(item, digest)
    else:
        return str(path)
    return digest.hexdigest()


def _sample(path: Path, digest: hashlib.blake2b) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        digest.update(file.read(1 << 20))
        for block in range(_BLOCKS):
            file.seek(block * size // _BLOCKS)
            digest.update(file.read(_BLOCK))


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    record = read_record(path, _REMEDY, ("settings", "finished"))
    if not isinstance(record["settings"], dict):
        raise InputError(f"{path}: expected the settings of a run, found none; {_REMEDY}")
    return record
