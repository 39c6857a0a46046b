"""Math-Shepherd: one text with a tag after every step, a second with signs in the place of the tags."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.formats import fields
from erprm.formats.base import Format, Options, RecordError, Report
from erprm.formats.tagged import join_tagged, split_problem, split_tagged
from erprm.rows import StepRow


def _decode_shepherd(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    tagged, signed = fields.lines(record, "input", report), fields.lines(record, "label", report)
    chunks, complete = split_tagged(tagged, options.tag)
    if not complete:
        raise RecordError("input: expected a tag after every step", f"none after {chunks[-1][-40:]!r}")
    problem, first = split_problem(chunks[0])
    steps = (first, *(chunk.strip() for chunk in chunks[1:]))
    signs = _signs(signed, chunks, options.tag)
    row = StepRow(prompt=problem, steps=steps, labels=tuple(signs))
    yield fields.with_extra(row, record, ("input", "label"))


def _signs(signed: str, chunks: Sequence[str], tag: str) -> list[float]:
    """The sign after each chunk: the label repeats the input's text, so that a sign inside a step is no label."""
    position, found = 0, []
    for index, chunk in enumerate(chunks, start=1):
        if not signed.startswith(chunk, position):
            raise RecordError("label: expected the text of input", f"another at step {index}")
        position += len(chunk)
        sign = re.compile(rf"[ \t]*(?:{re.escape(tag)})?[ \t]*([+-])[ \t]*(?:\n|$)").match(signed, position)
        if sign is None:
            raise RecordError("label: expected + or - at the end of every step",
                              f"{signed[position:position + 10]!r} after step {index}")
        found.append(float(sign.group(1) == "+"))
        position = sign.end()
    if signed[position:].strip():
        raise RecordError("label: expected the text of input", f"more: {signed[position:position + 20]!r}")
    return found


def _encode_shepherd(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    row = rows[0]
    signs = [fields.hard(value, options) for value in fields.full_labels(row, options)]
    tagged = join_tagged(row, options, number=True)
    chunks, _ = split_tagged(tagged, options.tag)
    signed = "\n".join(f"{chunk} {'+' if sign else '-'}" for chunk, sign in zip(chunks, signs, strict=True))
    return {"input": tagged, "label": signed, "task": row.extra.get("task", options.task)}


FORMATS = (
    Format("math-shepherd", "input, label, task: one text with a tag after every step, a second with signs",
           _decode_shepherd, _encode_shepherd, options=("tag", "task", "threshold")),
)
