"""Completions on disk: Parquet parts that are there whole or not at all, and a manifest that says what made them.

    with RolloutStore.open("runs/labels", settings) as store:
        store.commit([Record(...), ...])                     # one part; survives whatever comes after
    for table in read_parts("runs/labels"):                  # pyarrow tables with the columns of `SCHEMA`
        ...

A store holds, besides `manifest.json` and `lock`:

    parts/000001.parquet     completions, zstd, with page checksums; a part is the unit of commit
    quarantine/              parts that could not be read; their completions are sampled again
    rows.parquet             the result: solutions with their counts, written when the run ends
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from erprm.errors import InputError
from erprm.files.storage import Storage, open_storage

_VERSION = 1
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Record:
    """One completion.

    Attributes:
        prefix_id: what was continued (`settings.prefix_id`).
        sample: its number among the prefix's completions, from 0.
        problem_id, prefix: for people who read the store.
        text: the completion alone.
        finish_reason: "stop", or "length" when it was cut off.
        tokens: generated tokens.
        answer: the final answer found in prefix and text; None without one.
        right: whether the grader took it.
    """

    prefix_id: str
    sample: int
    problem_id: str
    prefix: str
    text: str
    finish_reason: str
    tokens: int
    answer: str | None
    right: bool


SCHEMA = pa.schema([
    ("prefix_id", pa.string()), ("sample", pa.int32()), ("problem_id", pa.string()), ("prefix", pa.string()),
    ("text", pa.string()), ("finish_reason", pa.string()), ("tokens", pa.int32()), ("answer", pa.string()),
    ("right", pa.bool_()),
])
_NAMES = tuple(item.name for item in fields(Record))


class RolloutStore:
    """A store that is open for writing: this process alone holds its lock."""

    def __init__(self, storage: Storage, part_names: Sequence[str]) -> None:
        self._storage = storage
        self._parts = list(part_names)
        self._next = 1 + max((int(Path(name).stem) for name in [*part_names, *storage.names("quarantine")]), default=0)
        self.quarantined: list[str] = []  # what was found damaged since the store was opened

    @classmethod
    @contextmanager
    def open(cls, place: str | Path, settings: Mapping[str, str]) -> Iterator[RolloutStore]:
        """The store at a local path or fsspec URL, begun if it is not there, locked until the block ends.

        Raises:
            InputError: when another process writes to it, or it was begun with other settings (all that differ are
                named), or it is not a store.
        """
        storage = open_storage(place)
        with storage.locked():
            _check_manifest(storage, settings)
            yield cls(storage, storage.names("parts"))

    def completed(self, texts: bool = False) -> Iterator[pa.Table]:
        """Columns prefix_id, sample, finish_reason, tokens, right and, if asked for, text of each part.

        Damaged parts are moved away.
        """
        columns = ["prefix_id", "sample", "finish_reason", "tokens", "right", *(["text"] if texts else [])]
        for name in list(self._parts):
            table = _read_part(self._storage, name, columns)
            if table is None:
                self._storage.move(f"parts/{name}", f"quarantine/{name}")
                self._parts.remove(name)
                self.quarantined.append(name)
                continue
            yield table

    def commit(self, records: Sequence[Record]) -> str:
        """Write one part; returns its name. Raises OSError, with nothing half-written, when the disk is full."""
        columns = {name: [getattr(record, name) for record in records] for name in _NAMES}
        out = io.BytesIO()
        pq.write_table(pa.table(columns, schema=SCHEMA), out, compression="zstd", write_page_checksum=True)
        name = f"{self._next:06d}.parquet"
        self._storage.write(f"parts/{name}", out.getvalue())
        self._next += 1
        self._parts.append(name)
        return name

    def write(self, name: str, data: bytes) -> str:
        """A file beside the parts (the result); returns where it is."""
        self._storage.write(name, data)
        return f"{self._storage.place.rstrip('/')}/{name}"


def read_parts(place: str | Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The parts of a store, in the order in which they were written; no lock is taken.

    Raises:
        InputError: when there is no store, or for a damaged part (running the command again repairs it).
    """
    storage = open_storage(place)
    if storage.read(_MANIFEST) is None:
        raise InputError(f"{place}: not a rollout store: it has no {_MANIFEST}")
    for name in storage.names("parts"):
        table = _read_part(storage, name, columns)
        if table is None:
            raise InputError(f"{place}/parts/{name}: damaged; run the command that wrote it again to repair the store")
        yield table


def _read_part(storage: Storage, name: str, columns: Sequence[str] | None) -> pa.Table | None:
    """None when the part is damaged: cut off, or not what was written."""
    data = storage.read(f"parts/{name}")
    if data is None:
        raise InputError(f"store {storage.place}: part {name} vanished while it was read")
    try:
        # An error here comes from the bytes: they were read already, so the disk and its permissions are out of it.
        with pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True) as part:
            return part.read(columns=list(columns) if columns else None)
    except (pa.ArrowException, OSError):
        return None


def _check_manifest(storage: Storage, settings: Mapping[str, str]) -> None:
    data = storage.read(_MANIFEST)
    if data is None:
        if storage.names("parts"):
            raise InputError(f"store {storage.place}: it has parts but no {_MANIFEST}; give another place")
        manifest: dict[str, Any] = {"version": _VERSION, "settings": dict(settings)}
        storage.write(_MANIFEST, (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
        return
    try:
        known = json.loads(data)
        version, old = known["version"], known["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"store {storage.place}: {_MANIFEST} is not a store's manifest") from error
    if version != _VERSION:
        raise InputError(f"store {storage.place}: expected version {_VERSION}, found {version}")
    differ = [f"{name}: store has {old.get(name, 'none')}, asked for {settings.get(name, 'none')}"
              for name in sorted({*old, *settings}) if old.get(name) != settings.get(name)]
    if differ:
        raise InputError(f"store {storage.place}: it was begun with other settings: {'; '.join(differ)}")
