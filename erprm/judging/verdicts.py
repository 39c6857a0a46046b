"""A step verdict: which step of a solution a judge calls the first wrong one, as a row with labels.

    verdict = verdict_row(row, 2)                     # labels (1, 1, 0, None, ...): right, right, wrong, not judged
    first_wrong(verdict)                              # 2; None where no step is wrong

Verdicts are ordinary `StepRow`s: they are read and written like any rows, train a model with `target="labels"`, and
go to ProcessBench's form with `erprm convert`. A solution and its verdict are matched by their texts, question and
steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from erprm.errors import InputError
from erprm.rows import StepRow

Texts = tuple[str, tuple[str, ...]]


def texts(row: StepRow) -> Texts:
    """What a solution and its verdict have in common; white space around texts does not count."""
    return row.prompt.strip(), tuple(step.strip() for step in row.steps)


def verdict_row(row: StepRow, wrong: int | None, judge: str = "") -> StepRow:
    """`row` with the labels that say its first wrong step.

    Args:
        wrong: the step's number from 0; None: every step is right.
        judge: who says so; kept in `extra["judge"]`.

    Raises:
        InputError: for a step that the row does not have.
    """
    length = len(row.steps)
    if wrong is not None and not 0 <= wrong < length:
        raise InputError(f"verdict on {row.solution_id or row.prompt[:40]!r}: expected a step from 0 to {length - 1}, "
                         f"found {wrong}")
    labels = (1.0,) * length if wrong is None else (1.0,) * wrong + (0.0,) + (None,) * (length - wrong - 1)
    extra = {**row.extra, "judge": judge} if judge else row.extra
    return dataclasses.replace(row, labels=labels, successes=None, trials=None, extra=extra)


def first_wrong(row: StepRow) -> int | None:
    """The first step labelled below 1/2; None where no step is. Raises InputError for a row without labels."""
    if row.labels is None:
        raise InputError(f"verdict on {row.solution_id or row.prompt[:40]!r}: expected labels, found none")
    return next((number for number, label in enumerate(row.labels) if label is not None and label < 0.5), None)


def by_texts(verdicts: Iterable[StepRow]) -> dict[Texts, int | None]:
    """First wrong steps by question and steps.

    Raises:
        InputError: where one solution has two verdicts that differ.
    """
    found: dict[Texts, int | None] = {}
    for verdict in verdicts:
        key, wrong = texts(verdict), first_wrong(verdict)
        if found.setdefault(key, wrong) != wrong:
            raise InputError(f"verdicts: expected one on each solution, found {found[key]} and {wrong} on "
                             f"{verdict.solution_id or verdict.prompt[:40]!r}")
    return found
