"""TRL's stepwise supervision: prompt, completions (the steps), labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.formats.base import Format, Options, Report, full_labels, hard, labels, objects, text, texts, with_extra
from erprm.rows import StepRow


def _decode_trl(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    steps = texts(record, "completions")
    row = StepRow(prompt=text(record, "prompt"), steps=tuple(steps), labels=labels(objects(record, "labels"), steps,
                                                                                  "labels"))
    yield with_extra(row, record, ("prompt", "completions", "labels"))


def _encode_trl(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    values = full_labels(rows[0], options)
    signs = all(value in (0.0, 1.0) for value in values) or options.threshold is not None
    return {"prompt": rows[0].prompt, "completions": list(rows[0].steps),
            "labels": [hard(value, options) for value in values] if signs else values}


FORMATS = (
    Format("trl", "prompt, completions, labels: stepwise supervision", _decode_trl, _encode_trl),
)
