"""Solutions in one text each: what the formats with all candidates of a problem in one record share."""

from __future__ import annotations

from typing import Any

from erprm.formats import fields
from erprm.formats.base import Options, RecordError, Report
from erprm.formats.tagged import split_tagged
from erprm.rows import StepRow
from erprm.steps import join_steps, split_steps


def steps_of(answer: Any, name: str, options: Options, report: Report) -> tuple[str, ...]:
    if not isinstance(answer, str) or not answer.strip():
        raise RecordError(f"{name}: expected texts", repr(answer)[:40])
    answer = fields.unix_lines(answer, name, report)
    if options.tag in answer:
        return tuple(chunk.strip() for chunk in split_tagged(answer, options.tag)[0])
    return tuple(split_steps(answer, options.splitter))


def joined(row: StepRow, options: Options) -> str:
    """The text as it was written where it is cut into the row's steps again, else the steps joined."""
    for answer in (join_steps(row.steps, options.splitter, gaps=row.gaps), join_steps(row.steps, options.splitter)):
        if options.tag not in answer and split_steps(answer, options.splitter) == list(row.steps):
            return answer
    raise RecordError(f"steps: expected texts that a {options.splitter} keeps apart", repr(answer[:60]))
