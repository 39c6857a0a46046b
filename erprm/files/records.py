"""Records from files that a person can open: JSON lines, Parquet.

    for number, record in read_records("rows.jsonl"): ...     # 1-based line, dict
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from erprm.errors import InputError


def read_records(path: str | Path, on_error: Callable[[InputError], None] | None = None,
                 ) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line or row number from 1, record) of a `.jsonl`, `.parquet` or `.json` (one list) file, one at a time.

    Blank lines are skipped. A `.json` list is read whole; the others take constant memory.

    Args:
        on_error: called with the error of a bad line, which is then skipped; without it the error is raised.

    Raises:
        InputError: for a missing file; for a bad line, naming file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix == ".json":
        yield from _json_list(path)
    else:
        yield from _json_lines(path, on_error)


def _json_lines(path: Path, on_error: Callable[[InputError], None] | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = _parse(line, f"{path}:{number}")
            except InputError as error:
                if on_error is None:
                    raise
                on_error(error)
                continue
            yield number, record


def _parse(line: bytes, where: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: expected UTF-8 text, found byte {line[error.start]:#04x}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: expected one JSON object per line, found {error.msg} at column {error.colno}"
                         ) from error
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(record).__name__}")
    return record


def _json_list(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: expected one JSON list of objects, found {error}") from error
    if not isinstance(records, list):
        raise InputError(f"{path}: expected one JSON list of objects, found {type(records).__name__}")
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise InputError(f"{path}:{number}: expected a JSON object, found {type(record).__name__}")
        yield number, record


def _parquet(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 0
    with _parquet_file(path) as table:
        for batch in table.iter_batches(batch_size=1024):
            for record in batch.to_pylist():
                number += 1
                yield number, record


def _parquet_file(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not a Parquet file: {error}") from error


def _parquet_rows(path: Path) -> int:
    with _parquet_file(path) as table:
        return int(table.metadata.num_rows)


def count_records(path: str | Path) -> int:
    """How many records `read_records` will find, bad ones included. Raises InputError for a missing file."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix in (".parquet", ".json"):
        return sum(1 for _ in read_records(path)) if path.suffix == ".json" else _parquet_rows(path)
    with path.open("rb") as lines:
        return sum(1 for line in lines if line.strip())
