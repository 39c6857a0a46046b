"""PRMBench: a process made wrong on purpose, and the numbers of its wrong steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.formats import fields
from erprm.formats.base import Format, Options, RecordError, Report
from erprm.rows import StepRow

_PRMBENCH = ("original_question", "original_process", "modified_steps", "reason", "idx", "question", "classification")


def _decode_prmbench(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    steps = fields.objects(record, "modified_process")
    if not all(isinstance(step, str) for step in steps):  # empty ones are part of the benchmark, and are judged
        raise RecordError("modified_process: expected texts", "something else")
    wrong = record.get("error_steps")
    if not isinstance(wrong, (list, tuple)) or any(isinstance(n, bool) or not isinstance(n, int) or n < 1
                                                   for n in wrong):
        raise RecordError("error_steps: expected numbers of steps from 1", f"{wrong!r} of {len(steps)} steps"[:60])
    if any(n > len(steps) for n in wrong):  # in one published record of sixty; the benchmark's own scoring skips them
        report.repair("error_steps: numbers behind the last step, which were left out")
    marks = tuple(0.0 if number in wrong else 1.0 for number in range(1, len(steps) + 1))
    row = StepRow(prompt=fields.text(record, "modified_question"), steps=tuple(steps), labels=marks,
                  solution_id=str(record.get("idx", "")))
    yield fields.with_extra(row, record, ("modified_question", "modified_process", "error_steps"))


def _encode_prmbench(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    row = rows[0]
    wrong = [index for index, value in enumerate(fields.full_labels(row, options), start=1)
             if not fields.hard(value, options)]
    return {"original_question": row.prompt, "original_process": list(row.steps), "modified_steps": wrong,
            "idx": row.solution_id, **fields.extras(row, _PRMBENCH), "modified_question": row.prompt,
            "modified_process": list(row.steps), "error_steps": wrong}


FORMATS = (
    Format("prmbench", "modified_question, modified_process, error_steps", _decode_prmbench, _encode_prmbench,
           options=("threshold",)),
)
