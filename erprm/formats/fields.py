"""Fields of records and labels of rows, checked: what all formats share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from erprm.errors import InputError
from erprm.formats.base import Options, RecordError, Report
from erprm.rows import StepRow
from erprm.values import row_targets


def text(record: Mapping[str, Any], name: str) -> str:
    """The text in field `name`, not blank."""
    value = record.get(name)
    if not isinstance(value, str):
        raise RecordError(f"{name}: expected text", _kind(record, name))
    if not value.strip():
        raise RecordError(f"{name}: expected text", "nothing")
    return value


def lines(record: Mapping[str, Any], name: str, report: Report) -> str:
    """The text in field `name`, not blank, with "\\n" at the end of every line: steps are told apart by it."""
    value = text(record, name)
    return unix_lines(value, name, report)


def unix_lines(value: str, name: str, report: Report) -> str:
    """`value` with "\\n" for "\\r\\n" and "\\r", which is counted."""
    if "\r" not in value:
        return value
    report.repair(f"{name}: line ends \\r\\n or \\r, now \\n")
    return value.replace("\r\n", "\n").replace("\r", "\n")


def objects(record: Mapping[str, Any], name: str) -> list[Any]:
    """The list in field `name`, not empty."""
    value = record.get(name)
    if not isinstance(value, (list, tuple)):
        raise RecordError(f"{name}: expected a list", _kind(record, name))
    if not value:
        raise RecordError(f"{name}: expected at least one entry", "none")
    return list(value)


def texts(record: Mapping[str, Any], name: str) -> list[str]:
    """The list of texts in field `name`, none of them blank."""
    values = objects(record, name)
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise RecordError(f"{name}: expected texts", repr(value)[:40])
    return values


def label(value: Any, name: str) -> float | None:
    """A label as a number in [0, 1]: signs, booleans and numbers; null is no label."""
    if value is None:
        return None
    if isinstance(value, str) and value.strip() in ("+", "-"):
        return float(value.strip() == "+")
    if isinstance(value, (bool, int, float)) and 0 <= value <= 1:
        return float(value)
    raise RecordError(f"{name}: expected + or -, true or false, or a number in [0, 1]", shown(value))


def labels(values: Sequence[Any], steps: Sequence[str], name: str) -> tuple[float | None, ...]:
    """One label per step."""
    if len(values) != len(steps):
        raise RecordError(f"{name}: expected one per step", f"{len(values)} for {len(steps)} steps")
    return tuple(label(value, name) for value in values)


def row_labels(row: StepRow, options: Options) -> list[float | None]:
    """The labels of a row: its own, or targets from its counts."""
    if row.labels is not None:
        return list(row.labels)
    if not row.has_completions:
        raise RecordError("labels: expected labels or counts", "neither")
    try:
        values = row_targets(row, options.target, options.eta)
    except InputError as error:
        raise RecordError(str(error)) from error
    return [None if math.isnan(value) else float(value) for value in values]


def full_labels(row: StepRow, options: Options) -> list[float]:
    """The labels of a row that must all be there."""
    found = row_labels(row, options)
    known = [value for value in found if value is not None]
    if len(known) != len(found):
        raise RecordError("labels: expected one for every step", f"none for step {found.index(None) + 1}")
    return known


def hard(value: float, options: Options) -> bool:
    """A label as a sign."""
    if options.threshold is not None:
        return value > options.threshold
    if value not in (0.0, 1.0):
        raise RecordError("labels: expected 0 or 1, or a threshold", str(value))
    return value == 1.0


def with_extra(row: StepRow, record: Mapping[str, Any], used: Sequence[str]) -> StepRow:
    """`row` with the fields of the record that it has no place for, so that writing the format again restores them."""
    rest = {name: value for name, value in record.items() if name not in used and value is not None}
    return replace(row, extra={**row.extra, **rest}) if rest else row


def extras(row: StepRow, names: Sequence[str]) -> dict[str, Any]:
    """What `with_extra` kept, of the fields `names`."""
    return {name: row.extra[name] for name in names if name in row.extra}


def shown(value: Any) -> str:
    """A value for a message, short; an integer of thousands of digits has no text."""
    return "a number of many digits" if isinstance(value, int) and abs(value) > 10**30 else repr(value)[:40]


def _kind(record: Mapping[str, Any], name: str) -> str:
    if name not in record:
        return f"no such field ({', '.join(map(str, record)) or 'no fields'})"
    return type(record[name]).__name__
