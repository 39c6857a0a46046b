"""ER-PRM: one text with a tag after every step and a list of floats; the stages before labelling are read too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.formats import fields
from erprm.formats.base import Format, Options, Report
from erprm.formats.tagged import join_tagged, read_steps, split_tagged
from erprm.rows import StepRow
from erprm.steps import split_steps


def _decode_er_prm(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    if "completions" in record:
        yield from _decode_er_prm_raw(record, options, report)
        return
    problem, steps, complete = read_steps(fields.lines(record, "text", report), options)
    name = "value" if "value" in record else "label"
    if name == "label" and not isinstance(record.get(name), (list, tuple)):
        outcome = fields.labels([record.get(name)], steps[:1], name)[0]
        yield fields.with_extra(StepRow(prompt=problem, steps=steps, outcome=outcome), record, ("text", name))
        return
    values = fields.labels(fields.objects(record, name), steps, name)
    if not complete:
        report.repair("text: the last step had no tag")
    yield fields.with_extra(StepRow(prompt=problem, steps=steps, labels=values), record, ("text", name))


def _decode_er_prm_raw(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    """The stage before labelling: solutions of one problem, without labels."""
    prompt = fields.text(record, "prompt")
    for completion in fields.objects(record, "completions"):
        if not isinstance(completion, str) or not completion.strip():
            report.drop("completions: expected texts", f"completions: expected texts, found {completion!r}"[:80])
            continue
        completion = fields.unix_lines(completion, "completions", report)
        if options.tag in completion:
            steps = [chunk.strip() for chunk in split_tagged(completion, options.tag)[0]]
        else:
            steps = split_steps(completion, "newline")
        yield fields.with_extra(StepRow(prompt=prompt, steps=tuple(steps)), record, ("prompt", "completions"))


def _encode_er_prm(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    return {"text": join_tagged(rows[0], options), "value": fields.full_labels(rows[0], options)}


FORMATS = (
    Format("er-prm", "text, value: one text with a tag after every step, a list of floats; raw stages are read",
           _decode_er_prm, _encode_er_prm, options=("tag", "number_steps")),
)
