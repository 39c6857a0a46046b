"""Formats that mark the end of every step in one text: Math-Shepherd, ER-PRM, OpenRLHF.

    "What is 2+3*4? Step 1: 3*4=12 ки\\nStep 2: 2+12=14 ки"

The problem ends where "Step 1:" begins; without it, at the first line break. A row whose problem or first step would
be read back otherwise is refused on writing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from erprm.formats.base import (
    Format,
    Options,
    RecordError,
    Report,
    extras,
    full_labels,
    hard,
    labels,
    lines,
    objects,
    text,
    unix_lines,
    with_extra,
)
from erprm.rows import StepRow
from erprm.steps import split_steps

_STEP_1 = re.compile(r"\s*(?=\bStep 1:)")
_NUMBERED = re.compile(r"Step \d+:")


@lru_cache(maxsize=16)
def _tag(tag: str) -> re.Pattern[str]:
    # An older revision of Math-Shepherd has "ки ?" where the sign belongs.
    return re.compile(rf"[ \t]*{re.escape(tag)}(?:[ \t]*\?)?[ \t]*(?:\n|$)")


def split_tagged(tagged: str, tag: str) -> tuple[list[str], bool]:
    """(chunks, whether the last one has its tag): the texts between the tags, the first with the problem before it."""
    parts = _tag(tag).split(tagged)
    closed = not parts[-1].strip()
    chunks = parts[:-1] if closed else parts
    if any(not chunk.strip() for chunk in chunks):
        raise RecordError("text: expected a step before every tag", "none")
    if any(tag in chunk for chunk in chunks):
        raise RecordError("text: expected tags at line ends", f"one inside {tagged[:40]!r}")
    return chunks, closed


def split_problem(chunk: str) -> tuple[str, str]:
    """(problem, first step) of the first chunk."""
    boundaries = list(_STEP_1.finditer(chunk))
    if boundaries:
        problem, step = chunk[:boundaries[-1].start()], chunk[boundaries[-1].end():]
    else:
        problem, _, step = chunk.strip().partition("\n")
    if not problem.strip() or not step.strip():
        raise RecordError("text: expected a problem, then 'Step 1:' or a line break", repr(chunk[:40]))
    return problem.strip(), step.strip()


def join_problem(problem: str, step: str) -> str:
    """The inverse of `split_problem`; raises RecordError where there is none."""
    joined = f"{problem} {step}" if step.startswith("Step 1:") else f"{problem}\n{step}"
    if split_problem(joined) != (problem, step):
        raise RecordError("prompt: expected a problem that can be told from its first step", repr(joined[:60]))
    return joined


def numbered(steps: Sequence[str]) -> list[str]:
    """The steps, each beginning with "Step k:"."""
    if all(_NUMBERED.match(step) for step in steps):
        return list(steps)
    return [f"Step {index}: {step}" for index, step in enumerate(steps, start=1)]


def join_tagged(row: StepRow, options: Options, number: bool = False) -> str:
    """The text with a tag after every step."""
    steps = numbered(row.steps) if number or options.number_steps else list(row.steps)
    joined = "\n".join(f"{step} {options.tag}" for step in [join_problem(row.prompt, steps[0]), *steps[1:]])
    chunks, _ = split_tagged(joined, options.tag)
    if chunks[1:] != steps[1:]:
        raise RecordError(f"steps: expected texts without the tag {options.tag!r} and without white space around them",
                          repr(joined[:60]))
    return joined


def _steps(tagged: str, options: Options) -> tuple[str, tuple[str, ...], bool]:
    chunks, closed = split_tagged(tagged, options.tag)
    problem, first = split_problem(chunks[0])
    return problem, (first, *(chunk.strip() for chunk in chunks[1:])), closed


def _decode_shepherd(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    tagged, signed = lines(record, "input", report), lines(record, "label", report)
    chunks, closed = split_tagged(tagged, options.tag)
    if not closed:
        raise RecordError("input: expected a tag after every step", f"none after {chunks[-1][-40:]!r}")
    problem, first = split_problem(chunks[0])
    steps = (first, *(chunk.strip() for chunk in chunks[1:]))
    signs = _signs(signed, chunks, options.tag)
    row = StepRow(prompt=problem, steps=steps, labels=tuple(signs))
    yield with_extra(row, record, ("input", "label"))


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
    signs = [hard(value, options) for value in full_labels(row, options)]
    tagged = join_tagged(row, options, number=True)
    chunks, _ = split_tagged(tagged, options.tag)
    signed = "\n".join(f"{chunk} {'+' if sign else '-'}" for chunk, sign in zip(chunks, signs, strict=True))
    return {"input": tagged, "label": signed, "task": row.extra.get("task", options.task)}


def _decode_er_prm(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    if "completions" in record:
        yield from _decode_er_prm_raw(record, options, report)
        return
    problem, steps, closed = _steps(lines(record, "text", report), options)
    name = "value" if "value" in record else "label"
    if name == "label" and not isinstance(record.get(name), (list, tuple)):
        outcome = labels([record.get(name)], steps[:1], name)[0]
        yield with_extra(StepRow(prompt=problem, steps=steps, outcome=outcome), record, ("text", name))
        return
    values = labels(objects(record, name), steps, name)
    if not closed:
        report.repair("text: the last step had no tag")
    yield with_extra(StepRow(prompt=problem, steps=steps, labels=values), record, ("text", name))


def _decode_er_prm_raw(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    """The stage before labelling: solutions of one problem, without labels."""
    prompt = text(record, "prompt")
    for completion in objects(record, "completions"):
        if not isinstance(completion, str) or not completion.strip():
            report.drop("completions: expected texts", f"completions: expected texts, found {completion!r}"[:80])
            continue
        completion = unix_lines(completion, "completions", report)
        if options.tag in completion:
            steps = [chunk.strip() for chunk in split_tagged(completion, options.tag)[0]]
        else:
            steps = split_steps(completion, "newline")
        yield with_extra(StepRow(prompt=prompt, steps=tuple(steps)), record, ("prompt", "completions"))


def _encode_er_prm(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    return {"text": join_tagged(rows[0], options), "value": full_labels(rows[0], options)}


def _decode_openrlhf(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    problem, steps, closed = _steps(lines(record, options.input_field, report), options)
    values = labels(objects(record, options.value_field), steps, options.value_field)
    if not closed:
        raise RecordError(f"{options.input_field}: expected a tag after every step", "none after the last")
    used = (options.input_field, options.value_field)
    yield with_extra(StepRow(prompt=problem, steps=steps, labels=values), record, used)


def _encode_openrlhf(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    values = full_labels(rows[0], options)
    signs = all(value in (0.0, 1.0) for value in values) or options.threshold is not None
    return {options.input_field: join_tagged(rows[0], options),
            options.value_field: ["+" if hard(v, options) else "-" for v in values] if signs else values,
            **extras(rows[0], ("task",))}


FORMATS = (
    Format("math-shepherd", "input, label, task: one text with a tag after every step, a second with signs",
           _decode_shepherd, _encode_shepherd),
    Format("er-prm", "text, value: one text with a tag after every step, a list of floats; raw stages are read",
           _decode_er_prm, _encode_er_prm),
    Format("openrlhf", "input, value (names configurable): signs or floats, one per placeholder",
           _decode_openrlhf, _encode_openrlhf),
)
