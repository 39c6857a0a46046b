"""Public data formats: one internal type, `StepRow`, many readers and writers.

    reader = read("shepherd.jsonl", "math-shepherd")       # an iterator; one row in memory at a time
    report = write("trl.jsonl", "trl", reader)
    print(reader.report)                                   # records, rows, what was dropped or repaired and why

With `strict` the first record that cannot be used is an error that names file and line; otherwise it is counted.
`FORMATS` names them all; docs/formats.md has a table.
"""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from erprm.errors import InputError
from erprm.files.records import check_source, read_records
from erprm.files.writing import atomic_write
from erprm.formats import (
    best_of_n,
    er_prm,
    math_aps,
    math_shepherd,
    openrlhf,
    prm800k,
    prmbench,
    processbench,
    rlhflow,
    search_and_learn,
    trl,
)
from erprm.formats.base import Format, Options, RecordError, Report
from erprm.rows import StepRow

__all__ = ["FORMATS", "Format", "Options", "Reader", "RecordError", "Report", "read", "write"]


def _decode_own(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    yield StepRow.from_dict(record)


def _encode_own(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    return rows[0].to_dict()


OWN = Format("erprm", "this project's rows: prompt, steps, labels or counts", _decode_own, _encode_own)
_MODULES = (math_shepherd, er_prm, openrlhf, trl, rlhflow, best_of_n, prm800k, processbench, prmbench, search_and_learn,
            math_aps)
FORMATS: dict[str, Format] = {item.name: item
                              for item in (OWN, *(item for module in _MODULES for item in module.FORMATS))}


class Reader:
    """The rows of a file, one at a time, in a single pass. `report` grows as they are read."""

    def __init__(self, path: str | Path, format: Format, strict: bool, options: Options) -> None:
        self.path, self.format, self.strict, self.options = path, format, strict, options
        self.report = Report()
        self._rows = self._read()

    def __iter__(self) -> Iterator[StepRow]:
        return self._rows

    def __next__(self) -> StepRow:
        return next(self._rows)

    def _read(self) -> Iterator[StepRow]:
        for number, record in read_records(self.path, None if self.strict else self._malformed, self.report.repair):
            self.report.records += 1
            try:
                rows = list(self.format.decode(record, self.options, self.report))
            except (InputError, RecursionError) as error:
                message = f"{self.path}:{number}: {error}"
                if self.strict:
                    raise InputError(message) from error
                self.report.drop(_reason(error), message)
                continue
            self.report.rows += len(rows)
            yield from rows

    def _malformed(self, error: InputError) -> None:
        self.report.records += 1
        self.report.drop("expected one JSON object per line", str(error))


def read(path: str | Path, format: str, strict: bool = False, options: Options | None = None) -> Reader:
    """The rows of a file, a folder of shards or a data set (`erprm.files.records`).

    Raises:
        InputError: for an unknown format, options that it cannot work with, or a missing file; while reading, with
            `strict`, for the first record that cannot be used, naming file and line.
    """
    options = options or Options()
    chosen = _format(format)
    chosen.check(options)
    check_source(path)
    return Reader(path, chosen, strict, options)


def write(path: str | Path, format: str, rows: Iterable[StepRow], strict: bool = True,
          options: Options | None = None) -> Report:
    """Write rows as JSON lines (rows of this project also as `.parquet`), beside the target and then renamed.

    Consecutive rows of one problem make one record in the formats that hold all candidates of a problem together.

    Raises:
        InputError: for an unknown format; with `strict`, for the first row that the format cannot hold; without, when
            there are rows and it can hold none of them. Nothing is written then.
    """
    options, chosen, report = options or Options(), _format(format), Report()
    if Path(path).suffix == ".parquet":
        if chosen is not OWN:
            raise InputError(f"{path}: expected a .jsonl file for the format {format}, found .parquet")
        from erprm.rows import write_rows

        report.rows = report.records = write_rows(path, rows)
        return report
    with atomic_write(path) as temporary, temporary.open("wb") as out:
        first = 1
        for group in _groups(rows, chosen.grouped):
            try:
                if chosen is not OWN and any(row.times != 1.0 for row in group):
                    raise RecordError(f"weight: expected rows of weight 1, since the format {format} has no weights")
                record = chosen.encode(group, options)
                line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
            except (InputError, TypeError, ValueError, RecursionError) as error:
                message = f"{path}: row {first}: {error}"
                if strict:
                    raise InputError(message) from error
                report.drop(_reason(error), message)
            else:
                out.write(line + b"\n")
                report.records += 1
                report.rows += len(group)
            first += len(group)
        if report.dropped and not report.records:
            raise InputError(f"{path}: not written: expected rows that the format {format} can hold, found none: "
                             + "; ".join(f"{count:,} dropped: {reason}" for reason, count in report.dropped.items()))
    return report


def _reason(error: Exception) -> str:
    """The part of a message that is the same for equal faults."""
    if isinstance(error, RecursionError):
        return "values nested too deeply"
    return error.reason if isinstance(error, RecordError) else str(error).partition(", found")[0]


def _groups(rows: Iterable[StepRow], grouped: bool) -> Iterator[list[StepRow]]:
    if not grouped:
        yield from ([row] for row in rows)
        return
    for _, group in itertools.groupby(rows, key=lambda row: (row.problem_id, row.prompt)):
        yield list(group)


def _format(name: str) -> Format:
    if name not in FORMATS:
        close = difflib.get_close_matches(name, FORMATS, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"format: expected one of {', '.join(FORMATS)}, found {name!r}{hint}")
    return FORMATS[name]
