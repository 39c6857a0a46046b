"""What a format is, what its reader reports, and the checks that all formats share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from erprm.errors import InputError
from erprm.rows import StepRow
from erprm.values import row_targets

EXAMPLES = 5  # messages that a report keeps


class RecordError(InputError):
    """A record that cannot be used. `reason` groups equal faults in the report; the message has the particulars."""

    def __init__(self, reason: str, found: str = "") -> None:
        super().__init__(f"{reason}, found {found}" if found else reason)
        self.reason = reason


@dataclass(slots=True)
class Report:
    """What a reader or writer did with a file.

    Attributes:
        records: lines or table rows that were read (written, for a writer).
        rows: StepRows that came of them (that were written).
        dropped: reason -> how many were left out.
        repaired: reason -> how many were changed.
        examples: the first messages, with file and line.
    """

    records: int = 0
    rows: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def drop(self, reason: str, message: str) -> None:
        """Count something left out."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(message)

    def repair(self, reason: str) -> None:
        """Count something changed."""
        self.repaired[reason] = self.repaired.get(reason, 0) + 1

    def __str__(self) -> str:
        lines = [f"{self.records:,} records, {self.rows:,} rows"]
        lines += [f"  dropped {count:,}: {reason}" for reason, count in self.dropped.items()]
        lines += [f"  repaired {count:,}: {reason}" for reason, count in self.repaired.items()]
        return "\n".join(lines + [f"  e.g. {message}" for message in self.examples])


@dataclass(frozen=True, slots=True)
class Options:
    """Choices that a format leaves open.

    Attributes:
        tag: the step tag in the text.
        input_field, value_field: OpenRLHF's configurable names.
        neutral: PRM800K's rating 0 as a label: "good" 1, "bad" 0, "none" no label; it has to be chosen.
        trials: completions behind each Monte-Carlo value; with it MATH-APS values become counts.
        splitter: how a solution in one text is cut into steps ("newline" or "blank-line").
        threshold: where a format holds signs only, labels above it are "+"; None refuses labels other than 0 and 1.
        target, eta: how counts become labels on writing (erprm.values.targets).
        number_steps: write "Step k:" before steps that have none (Math-Shepherd always has it): it shows where the
            problem ends.
        task: Math-Shepherd's `task` for rows that have none.
    """

    tag: str = "ки"
    input_field: str = "input"
    value_field: str = "value"
    neutral: str | None = None
    trials: int | None = None
    splitter: str = "blank-line"
    threshold: float | None = None
    target: str = "soft"
    eta: float = 2.0
    number_steps: bool = False
    task: str = "GSM8K"


Repair = Callable[[str], None]
Decode = Callable[[Mapping[str, Any], Options, Report], Iterator[StepRow]]
Encode = Callable[[Sequence[StepRow], Options], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Format:
    """A public data format.

    Attributes:
        decode: a record -> its rows; raises RecordError.
        encode: rows -> one record; raises RecordError. `grouped`: all consecutive rows of a problem make one record.
        check: raises InputError for options that the format cannot work with.
    """

    name: str
    about: str
    decode: Decode
    encode: Encode
    grouped: bool = False
    check: Callable[[Options], None] = lambda options: None


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
    if row.successes is None or row.trials is None:
        raise RecordError("labels: expected labels or counts", "neither")
    return [None if math.isnan(value) else float(value) for value in row_targets(row, options.target, options.eta)]


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
