"""Files of a store: a local folder, or any URL that fsspec knows, behind the few operations that a store needs.

    storage = open_storage("runs/labels")            # or "s3://bucket/labels", "memory://labels"
    with storage.locked():
        storage.write("manifest.json", data)          # written beside, then renamed: there whole, or not at all
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from erprm.errors import InputError
from erprm.files.writing import atomic_write, held, remove_unfinished

_LOCK = "lock"


class Storage(Protocol):
    """Named files in one place; a name may hold one folder ("parts/000001.parquet")."""

    place: str

    def read(self, name: str) -> bytes | None:
        """The file's bytes; None where there is no such file."""

    def write(self, name: str, data: bytes) -> None:
        """Put the file there whole. On an error (a full disk, say) the name is as it was before."""

    def names(self, folder: str) -> list[str]:
        """Names of the finished files in a folder, sorted; without those still being written."""

    def move(self, name: str, target: str) -> None:
        """Rename a file."""

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold the right to write. Raises InputError, naming the holder, when another process has it."""


def open_storage(place: str | Path) -> Storage:
    """The storage at a local path or an fsspec URL. Nothing is created yet.

    Raises:
        InputError: for a URL whose protocol fsspec does not know or whose package is missing.
    """
    text = str(place)
    if "://" not in text:
        return LocalStorage(Path(text))
    if text.startswith(("file://", "local://")):
        return LocalStorage(Path(text.split("://", 1)[1]))
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(text)
    except (ValueError, ImportError) as error:
        raise InputError(f"store {text}: expected a path or a URL that fsspec can open; {error}") from error
    return RemoteStorage(text, files, root)


class LocalStorage:
    """A folder. A finished file is flushed to the disk before it is renamed; the lock is the kernel's (`flock`), so a
    dead process holds none."""

    def __init__(self, root: Path) -> None:
        self.place = str(root)
        self._root = root

    def read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        with atomic_write(self._root / name) as temporary:
            temporary.write_bytes(data)

    def names(self, folder: str) -> list[str]:
        place = self._root / folder
        return sorted(path.name for path in place.iterdir() if path.name[0] != ".") if place.is_dir() else []

    def move(self, name: str, target: str) -> None:
        (self._root / target).parent.mkdir(parents=True, exist_ok=True)
        (self._root / name).replace(self._root / target)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with held(self._root / _LOCK, f"store {self.place}"):
            remove_unfinished(self._root.parent, of=self._root.name)
            for folder in [self._root, *self._root.iterdir()]:
                remove_unfinished(folder)
            yield


class RemoteStorage:
    """Files behind fsspec. The lock is a file that names its holder; one left by a dead process of this machine is
    taken over, one of another machine must be removed by hand."""

    def __init__(self, place: str, files: Any, root: str) -> None:
        self.place, self._files, self._root = place, files, root.rstrip("/")

    def read(self, name: str) -> bytes | None:
        try:
            return bytes(self._files.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        folder, _, last = f"{self._root}/{name}".rpartition("/")
        self._files.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.{last}.tmp"
        self._files.pipe_file(temporary, data)
        self._files.mv(temporary, f"{folder}/{last}")

    def names(self, folder: str) -> list[str]:
        try:
            listed = self._files.ls(f"{self._root}/{folder}", detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(name for path in listed if (name := path.rstrip("/").rpartition("/")[2])[0] != ".")

    def move(self, name: str, target: str) -> None:
        self._files.makedirs(f"{self._root}/{target}".rpartition("/")[0], exist_ok=True)
        self._files.mv(f"{self._root}/{name}", f"{self._root}/{target}")

    @contextmanager
    def locked(self) -> Iterator[None]:
        me = {"host": socket.gethostname(), "process": os.getpid(), "token": secrets.token_hex(8)}
        self._refuse_holder()
        self.write(_LOCK, json.dumps(me).encode())
        if self._holder() != me:  # another writer was a moment later, and has it
            self._refuse_holder()
        try:
            yield
        finally:
            if self._holder() == me:
                self._files.rm_file(f"{self._root}/{_LOCK}")

    def _holder(self) -> dict[str, Any] | None:
        data = self.read(_LOCK)
        return json.loads(data) if data else None

    def _refuse_holder(self) -> None:
        holder = self._holder()
        if holder is None:
            return
        if holder["host"] == socket.gethostname() and not _alive(holder["process"]):
            return
        raise InputError(f"store {self.place}: another process writes to it (process {holder['process']} on "
                         f"{holder['host']}); if that one is dead, remove {self.place}/{_LOCK}")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
