"""A result in numbered parts: what was committed survives whatever comes after, and a run goes on with what is missing.

    with Parts.open("scored.parquet.parts", {"model": "runs/prm"}, ".parquet") as parts:
        for number in range(1, count + 1):
            if parts.read(number) is None:                   # not there, or damaged and moved away
                parts.write(number, data)

A folder of parts, local or behind fsspec, holds:

    manifest.json            what made the parts; a run with other settings is refused, unless nothing was committed yet
    parts/000001.parquet     a part: the unit of commit
    sums/000001.parquet      its BLAKE2b checksum, over every byte of the part
    quarantine/              parts that are not what was written; they are made again
    lock                     held by the one process that may write
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from erprm.errors import InputError
from erprm.files.storage import Storage, open_storage

MANIFEST = "manifest.json"
_VERSION = 1
_NAME = re.compile(r"[0-9]{6,}")


class Parts:
    """The parts of a place that is open for writing: this process alone holds its lock.

    Attributes:
        quarantined: names of the parts that were found damaged since the place was opened.
    """

    def __init__(self, storage: Storage, suffix: str) -> None:
        self._storage, self._suffix = storage, suffix
        names, strays = part_names(storage, suffix)
        if strays:
            print(f"{storage.place}/parts: ignored what is no part: {', '.join(map(ascii, strays[:5]))}"
                  f"{f' and {len(strays) - 5} more' if len(strays) > 5 else ''}", file=sys.stderr)
        unsummed = set(names) - set(storage.names("sums"))
        if unsummed:
            print(f"{storage.place}/parts: {len(unsummed):,} of {len(names):,} parts are of an earlier version, "
                  "without a checksum", file=sys.stderr)
        self._there = {_number(name) for name in names}
        gone = [_number(name) for name in storage.names("quarantine") if _is_part(name, suffix)]
        self._next = 1 + max(self._there.union(gone), default=0)
        self.quarantined: list[str] = []

    @classmethod
    @contextmanager
    def open(cls, place: str | Path, settings: Mapping[str, Any], suffix: str) -> Iterator[Parts]:
        """The parts at a local path or fsspec URL, begun if they are not there, locked until the block ends.

        Raises:
            InputError: when another process writes to the place, it was begun with other settings (all that differ are
                named), or it is something else.
        """
        storage = open_storage(place)
        with storage.locked():
            _check_manifest(storage, settings)
            yield cls(storage, suffix)

    def numbers(self) -> list[int]:
        """The numbers of the parts that are there, damaged ones included until they are read."""
        return sorted(self._there)

    def name(self, number: int) -> str:
        """The file name of a part."""
        return f"{number:06d}{self._suffix}"

    def read(self, number: int) -> bytes | None:
        """A part's bytes; None where it is not there, or was damaged and has been moved away."""
        if number not in self._there:
            return None
        data = read_part(self._storage, self.name(number))
        if data is None:
            self.quarantine(number)
        return data

    def quarantine(self, number: int) -> None:
        """Move a damaged part away."""
        name = self.name(number)
        self._storage.move(f"parts/{name}", f"quarantine/{name}")
        self._there.remove(number)
        self.quarantined.append(name)

    def write(self, number: int, data: bytes) -> None:
        """Commit a part. On an error (a full disk, say) nothing half-written is left."""
        name = self.name(number)
        self._storage.write(f"sums/{name}", _sum(data))  # first: a part without one counts as an earlier version's
        self._storage.write(f"parts/{name}", data)
        self._there.add(number)
        self._next = max(self._next, number + 1)

    def append(self, data: bytes) -> str:
        """Commit a part under the next free number; returns its name."""
        number = self._next
        self.write(number, data)
        return self.name(number)


def part_names(storage: Storage, suffix: str) -> tuple[list[str], list[str]]:
    """(names of the parts in their order, names of what else lies among them)."""
    names = storage.names("parts")
    parts = [name for name in names if _is_part(name, suffix)]
    return sorted(parts, key=_number), [name for name in names if not _is_part(name, suffix)]


def read_part(storage: Storage, name: str) -> bytes | None:
    """A part's bytes; None where they are not those that were written. Raises InputError when it has vanished."""
    data, wanted = storage.read(f"parts/{name}"), storage.read(f"sums/{name}")
    if data is None:
        raise InputError(f"{storage.place}: part {name} vanished while it was read")
    return data if wanted is None or wanted == _sum(data) else None


def _sum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).hexdigest().encode() + b"\n"


def _is_part(name: str, suffix: str) -> bool:
    return name.endswith(suffix) and _NAME.fullmatch(name.removesuffix(suffix)) is not None


def _number(name: str) -> int:
    return int(name.partition(".")[0])


def _check_manifest(storage: Storage, settings: Mapping[str, Any]) -> None:
    wanted = json.loads(json.dumps(dict(settings)))
    data, begun = storage.read(MANIFEST), [*storage.names("parts"), *storage.names("quarantine")]
    if data is None:
        if begun:
            raise InputError(f"store {storage.place}: it has parts but no {MANIFEST}; give another place")
    else:
        try:
            known = json.loads(data)
            version, old = known["version"], dict(known["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"store {storage.place}: {MANIFEST} is not a store's manifest") from error
        if version != _VERSION:
            raise InputError(f"store {storage.place}: expected version {_VERSION}, found {version}")
        differ = [f"{name}: store has {old.get(name, 'none')}, asked for {wanted.get(name, 'none')}"
                  for name in sorted({*old, *wanted}) if old.get(name) != wanted.get(name)]
        if differ and begun:
            raise InputError(f"store {storage.place}: it was begun with other settings: {'; '.join(differ)}; give "
                             "another place, or remove the folder")
        if not differ:
            return
    manifest = {"version": _VERSION, "settings": wanted}
    storage.write(MANIFEST, (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
