"""ProcessBench: the index of the first wrong step, -1 where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.formats import fields
from erprm.formats.base import Format, Options, RecordError, Report
from erprm.rows import StepRow


def _decode_processbench(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    steps, first = fields.texts(record, "steps"), record.get("label")
    if isinstance(first, bool) or not isinstance(first, int) or not -1 <= first < len(steps):
        raise RecordError("label: expected -1 or the index of a step", f"{first!r} of {len(steps)} steps")
    marks: list[float | None] = [1.0] * len(steps)
    if first >= 0:  # nothing is said of the steps after the first wrong one
        marks[first:] = [0.0, *[None] * (len(steps) - first - 1)]
    outcome = fields.label(record.get("final_answer_correct"), "final_answer_correct")
    row = StepRow(prompt=fields.text(record, "problem"), steps=tuple(steps), labels=tuple(marks), outcome=outcome,
                  solution_id=str(record.get("id", "")))
    yield fields.with_extra(row, record, ("id", "problem", "steps", "final_answer_correct", "label"))


def _encode_processbench(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    row = rows[0]
    first = -1
    for index, value in enumerate(fields.row_labels(row, options)):
        if value is None:
            raise RecordError("labels: expected one for every step up to the first wrong one",
                              f"none for step {index + 1}")
        if not fields.hard(value, options):
            first = index
            break
    correct = None if row.outcome is None else fields.hard(row.outcome, options)
    return {"id": row.solution_id, **fields.extras(row, ("generator",)), "problem": row.prompt,
            "steps": list(row.steps), "final_answer_correct": correct, "label": first}


FORMATS = (
    Format("processbench", "problem, steps, label: the first wrong step", _decode_processbench, _encode_processbench,
           options=("threshold",)),
)
