"""OpenRLHF: one text with a placeholder after every step and a list of signs or floats; the names are options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.formats import fields
from erprm.formats.base import Format, Options, RecordError, Report
from erprm.formats.tagged import join_tagged, read_steps
from erprm.rows import StepRow


def _decode_openrlhf(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    problem, steps, complete = read_steps(fields.lines(record, options.input_field, report), options)
    values = fields.labels(fields.objects(record, options.value_field), steps, options.value_field)
    if not complete:
        raise RecordError(f"{options.input_field}: expected a tag after every step", "none after the last")
    used = (options.input_field, options.value_field)
    yield fields.with_extra(StepRow(prompt=problem, steps=steps, labels=values), record, used)


def _encode_openrlhf(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    values = fields.full_labels(rows[0], options)
    signs = all(value in (0.0, 1.0) for value in values) or options.threshold is not None
    return {options.input_field: join_tagged(rows[0], options),
            options.value_field: ["+" if fields.hard(v, options) else "-" for v in values] if signs else values,
            **fields.extras(rows[0], ("task",))}


FORMATS = (
    Format("openrlhf", "input, value (names configurable): signs or floats, one per placeholder",
           _decode_openrlhf, _encode_openrlhf,
           options=("tag", "input_field", "value_field", "number_steps", "threshold")),
)
