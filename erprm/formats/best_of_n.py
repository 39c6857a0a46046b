"""RLHFlow best-of-N: all answers to a prompt with their outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.formats import fields
from erprm.formats.base import Format, Options, RecordError, Report
from erprm.formats.candidates import joined, steps_of
from erprm.rows import StepRow


def _decode_best_of_n(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    prompt, answers = fields.text(record, "prompt"), fields.objects(record, "answers")
    name = "label" if "label" in record else "labels"
    outcomes = fields.objects(record, name)
    if len(outcomes) != len(answers):
        raise RecordError(f"{name}: expected one per answer", f"{len(outcomes)} for {len(answers)} answers")
    for answer, outcome in zip(answers, outcomes, strict=True):
        try:
            steps = steps_of(answer, "answers", options, report)
            row = StepRow(prompt=prompt, steps=steps, outcome=fields.label(outcome, name))
        except RecordError as error:
            report.drop(error.reason, str(error))
            continue
        yield fields.with_extra(row, record, ("prompt", "answers", name))


def _encode_best_of_n(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    if any(row.outcome not in (0.0, 1.0) for row in rows):
        raise RecordError("outcome: expected 0 or 1", str(next(r.outcome for r in rows if r.outcome not in (0.0, 1.0))))
    return {"prompt": rows[0].prompt, "answers": [joined(row, options) for row in rows],
            "label": [int(row.outcome or 0) for row in rows]}


FORMATS = (
    Format("rlhflow-bon", "prompt, answers, label: candidates with outcomes", _decode_best_of_n, _encode_best_of_n,
           options=("tag", "splitter"), grouped=True),
)
