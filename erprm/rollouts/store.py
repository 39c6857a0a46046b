"""Completions on disk: Parquet parts that are there whole or not at all, and a manifest that says what made them.

    with RolloutStore.open("runs/labels", settings) as store:
        store.commit([Record(...), ...])                     # one part; survives whatever comes after
    for table in read_parts("runs/labels"):                  # pyarrow tables with the columns of `SCHEMA`
        ...

The parts are those of `erprm.files.parts`, completions as Parquet (zstd); beside them lies what a run ends with:
`rows.parquet`, the solutions with their counts.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from erprm.errors import InputError
from erprm.files.parts import MANIFEST, Parts, part_names, read_part
from erprm.files.storage import Storage, open_storage

_SUFFIX = ".parquet"


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
        reward: in [0, 1], where rewards are graded; None: 1 or 0, as `right` says.
        parts: the rewards that it is composed of, as a JSON object; None without any.
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
    reward: float | None = None
    parts: str | None = None


SCHEMA = pa.schema([
    ("prefix_id", pa.string()), ("sample", pa.int32()), ("problem_id", pa.string()), ("prefix", pa.string()),
    ("text", pa.string()), ("finish_reason", pa.string()), ("tokens", pa.int32()), ("answer", pa.string()),
    ("right", pa.bool_()),
])
GRADED = SCHEMA.append(pa.field("reward", pa.float64())).append(pa.field("parts", pa.string()))  # with rewards
_NULLABLE = ("answer", "parts")


class RolloutStore:
    """A store that is open for writing: this process alone holds its lock."""

    def __init__(self, storage: Storage, parts: Parts) -> None:
        self._storage, self._parts = storage, parts

    @property
    def quarantined(self) -> list[str]:
        """Names of the parts that were found damaged since the store was opened."""
        return self._parts.quarantined

    @classmethod
    @contextmanager
    def open(cls, place: str | Path, settings: Mapping[str, str]) -> Iterator[RolloutStore]:
        """The store at a local path or fsspec URL, begun if it is not there, locked until the block ends.

        Raises:
            InputError: when another process writes to it, or it was begun with other settings (all that differ are
                named), or it is not a store.
        """
        with Parts.open(place, settings, _SUFFIX) as parts:
            yield cls(open_storage(place), parts)

    def completed(self, texts: bool = False) -> Iterator[pa.Table]:
        """Columns prefix_id, sample, finish_reason, tokens, answer, right, reward, parts and, if asked for, text.

        Damaged parts are moved away.
        """
        columns = ["prefix_id", "sample", "finish_reason", "tokens", "answer", "right", "reward", "parts",
                   *(["text"] if texts else [])]
        for number in self._parts.numbers():
            data = self._parts.read(number)
            if data is None:
                continue
            table = _table(data, columns)
            if table is None:
                self._parts.quarantine(number)
                continue
            yield table

    def commit(self, records: Sequence[Record]) -> str:
        """Write one part; returns its name. Raises OSError, with nothing half-written, when the disk is full."""
        schema = SCHEMA if all(record.reward is None for record in records) else GRADED
        columns = {name: [getattr(record, name) for record in records] for name in schema.names}
        out = io.BytesIO()
        pq.write_table(pa.table(columns, schema=schema), out, compression="zstd", write_page_checksum=True)
        return self._parts.append(out.getvalue())

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
    if storage.read(MANIFEST) is None:
        raise InputError(f"{place}: not a rollout store: it has no {MANIFEST}")
    for name in part_names(storage, _SUFFIX)[0]:
        data = read_part(storage, name)
        table = None if data is None else _table(data, columns)
        if table is None:
            raise InputError(f"{place}/parts/{name}: damaged; run the command that wrote it again to repair the store")
        yield table


def _table(data: bytes, columns: Sequence[str] | None) -> pa.Table | None:
    """None when the part is damaged: it can't be read, or is not what a store has. Parts of earlier versions have no
    checksum beside them, only those of their pages."""
    try:
        # An error here comes from the bytes: they were read already, so the disk and its permissions are out of it.
        with pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True) as part:
            schema = part.schema_arrow
            if not (schema.equals(SCHEMA) or schema.equals(GRADED)):
                return None
            asked = list(columns or schema.names)
            here = [name for name in asked if name in schema.names]
            table = part.read(columns=list(dict.fromkeys([*here, "right"])))
            table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError):
        return None
    if "reward" in asked and "reward" not in here:
        table = table.append_column("reward", table["right"].cast(pa.float64()))
    if "parts" in asked and "parts" not in here:
        table = table.append_column("parts", pa.nulls(len(table), pa.string()))
    return None if any(table[name].null_count for name in table.column_names if name not in _NULLABLE) else \
        table.select(asked)
