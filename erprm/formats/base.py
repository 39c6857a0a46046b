"""What a format is, which options it reads, and what its reader reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from erprm.errors import InputError
from erprm.options import check, option
from erprm.rows import StepRow
from erprm.values import KINDS

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


@dataclass(frozen=True)
class Options:
    """Choices that formats leave open; a `Format` names those that it reads. All read how counts become labels."""

    tag: str = option("ки", help="step tag in the text")
    input_field: str = option("input", help="name of the text field")
    value_field: str = option("value", help="name of the label field")
    neutral: str | None = option(None, help="the label of a rating of 0; it has to be chosen",
                                 choices=("good", "bad", "none"))
    trials: int | None = option(None, help="completions behind each Monte-Carlo value, to turn values into counts",
                                least=1)
    splitter: str = option("blank-line", help="what separates the steps of a solution in one text",
                           choices=("newline", "blank-line"))
    number_steps: bool = option(False, help="write 'Step k:' before steps that have none: it shows where the problem "
                                            "ends")
    task: str = option("GSM8K", help="the `task` of rows that have none")
    threshold: float | None = option(None, help="labels above it are written as + where a format holds signs only; "
                                                "without it labels other than 0 and 1 are refused")
    target: str = option("soft", help="labels from counts or rewards, on writing",
                         choices=[name for name, kind in KINDS.items() if kind.needs != "labels"])
    eta: float = option(2.0, help="inverse temperature of the er and td targets")

    def __post_init__(self) -> None:
        check(self)


Decode = Callable[[Mapping[str, Any], Options, Report], Iterator[StepRow]]
Encode = Callable[[Sequence[StepRow], Options], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Format:
    """A public data format.

    Attributes:
        decode: a record -> its rows; raises RecordError.
        encode: rows -> one record; raises RecordError.
        options: the fields of `Options` that it reads, besides `target` and `eta`.
        grouped: all consecutive rows of a problem make one record.
        check: raises InputError for options that the format cannot work with.
    """

    name: str
    help: str
    decode: Decode
    encode: Encode
    options: tuple[str, ...] = ()
    grouped: bool = False
    check: Callable[[Options], None] = lambda options: None
