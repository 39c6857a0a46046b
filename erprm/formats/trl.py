"""TRL's stepwise supervision: prompt, completions (the steps), labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.formats import fields
from erprm.formats.base import Format, Options, Report
from erprm.rows import StepRow


def _decode_trl(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    steps = fields.texts(record, "completions")
    row = StepRow(prompt=fields.text(record, "prompt"), steps=tuple(steps),
                  labels=fields.labels(fields.objects(record, "labels"), steps, "labels"))
    yield fields.with_extra(row, record, ("prompt", "completions", "labels"))


def _encode_trl(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    values = fields.full_labels(rows[0], options)
    signs = all(value in (0.0, 1.0) for value in values) or options.threshold is not None
    return {"prompt": rows[0].prompt, "completions": list(rows[0].steps),
            "labels": [fields.hard(value, options) for value in values] if signs else values}


FORMATS = (
    Format("trl", "prompt, completions, labels: stepwise supervision", _decode_trl, _encode_trl,
           options=("threshold",)),
)
