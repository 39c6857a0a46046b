"""RLHFlow: a conversation in which the assistant says + or - to every step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.formats import fields
from erprm.formats.base import Format, Options, RecordError, Report
from erprm.formats.tagged import join_problem, numbered, split_problem
from erprm.rows import StepRow


def _decode_rlhflow(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    turns = fields.objects(record, "conversations")
    if len(turns) % 2:
        raise RecordError("conversations: expected an answer to every step", f"{len(turns)} turns")
    said: list[str] = []
    for index, turn in enumerate(turns):
        role = ("user", "assistant")[index % 2]
        if not isinstance(turn, Mapping) or turn.get("role") != role:
            raise RecordError("conversations: expected user and assistant in turn", f"turn {index + 1}: {turn!r}"[:60])
        said.append(fields.lines(turn, "content", report))
    problem, first = split_problem(said[0])
    steps = (first, *(step.strip() for step in said[2::2]))
    signs = [sign.strip() for sign in said[1::2]]
    if not set(signs) <= {"+", "-"}:
        raise RecordError("conversations: expected + or - from the assistant",
                          repr(next(sign for sign in signs if sign not in ("+", "-")))[:40])
    row = StepRow(prompt=problem, steps=steps, labels=fields.labels(signs, steps, "conversations"))
    yield fields.with_extra(row, record, ("conversations",))


def _encode_rlhflow(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    row = rows[0]
    turns: list[dict[str, str]] = []
    steps = numbered(row.steps) if options.number_steps else list(row.steps)
    said = [join_problem(row.prompt, steps[0]), *steps[1:]]
    for step, value in zip(said, fields.full_labels(row, options), strict=True):
        turns += [{"role": "user", "content": step},
                  {"role": "assistant", "content": "+" if fields.hard(value, options) else "-"}]
    return {"conversations": turns}


FORMATS = (
    Format("rlhflow", "conversations: the assistant answers every step with + or -", _decode_rlhflow, _encode_rlhflow,
           options=("number_steps", "threshold")),
)
