"""Formats that hold steps and labels as lists: TRL, RLHFlow, PRM800K, ProcessBench, PRMBench."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.errors import InputError
from erprm.formats.base import (
    Format,
    Options,
    RecordError,
    Report,
    extras,
    full_labels,
    hard,
    label,
    labels,
    lines,
    objects,
    row_labels,
    text,
    texts,
    with_extra,
)
from erprm.formats.tagged import join_problem, numbered, split_problem
from erprm.rows import StepRow

# ---- TRL: prompt, completions, labels ----


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


# ---- RLHFlow: a conversation in which the assistant says + or - to every step ----


def _decode_rlhflow(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    turns = objects(record, "conversations")
    if len(turns) % 2:
        raise RecordError("conversations: expected an answer to every step", f"{len(turns)} turns")
    said: list[str] = []
    for index, turn in enumerate(turns):
        role = ("user", "assistant")[index % 2]
        if not isinstance(turn, Mapping) or turn.get("role") != role:
            raise RecordError("conversations: expected user and assistant in turn", f"turn {index + 1}: {turn!r}"[:60])
        said.append(lines(turn, "content", report))
    problem, first = split_problem(said[0])
    steps = (first, *(step.strip() for step in said[2::2]))
    signs = [sign.strip() for sign in said[1::2]]
    if not set(signs) <= {"+", "-"}:
        raise RecordError("conversations: expected + or - from the assistant",
                          repr(next(sign for sign in signs if sign not in ("+", "-")))[:40])
    yield with_extra(StepRow(prompt=problem, steps=steps, labels=labels(signs, steps, "conversations")), record,
                     ("conversations",))


def _encode_rlhflow(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    row = rows[0]
    turns: list[dict[str, str]] = []
    steps = numbered(row.steps) if options.number_steps else list(row.steps)
    said = [join_problem(row.prompt, steps[0]), *steps[1:]]
    for step, value in zip(said, full_labels(row, options), strict=True):
        turns += [{"role": "user", "content": step},
                  {"role": "assistant", "content": "+" if hard(value, options) else "-"}]
    return {"conversations": turns}


# ---- PRM800K: rated alternatives at every step of one path ----

_RATINGS: dict[Any, float | None] = {1: 1.0, -1: 0.0, None: None}
_NEUTRAL = {"good": 1.0, "bad": 0.0, "none": None}


def _check_prm800k(options: Options) -> None:
    if options.neutral not in _NEUTRAL:
        raise InputError("prm800k: neutral: expected good, bad or none (what a rating of 0 means), "
                         f"found {options.neutral!r}")


def _decode_prm800k(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    """The chosen path, then one row for each alternative: the path up to it and the alternative as the last step."""
    question = record.get("question")
    problem = text(question, "problem") if isinstance(question, Mapping) else text(record, "question")
    gold = question.get("ground_truth_answer") if isinstance(question, Mapping) else None
    body = record.get("label")
    if not isinstance(body, Mapping):
        raise RecordError("label: expected an object with steps", type(body).__name__)
    path: list[str] = []
    marks: list[float | None] = []
    branches: list[tuple[int, str, float | None]] = []
    for number, step in enumerate(objects(body, "steps"), start=1):
        chosen = _prm800k_step(step, number, options)
        branches += [(len(path), words, mark) for words, mark in chosen[1:]]
        if chosen[0] is None:
            break
        path.append(chosen[0][0])
        marks.append(chosen[0][1])
    finished = body.get("finish_reason") == "solution"
    gold = str(gold) if gold is not None else None
    if path:
        yield with_extra(StepRow(prompt=problem, steps=tuple(path), labels=tuple(marks), finished=finished, gold=gold),
                         record, ("question", "label"))
    for length, words, mark in branches:
        yield StepRow(prompt=problem, steps=(*path[:length], words), labels=(*marks[:length], mark), finished=False,
                      gold=gold)
    if not path and not branches:
        raise RecordError("label.steps: expected at least one step with text", "none")


def _prm800k_step(step: Any, number: int, options: Options) -> list[Any]:
    """[the step that the path goes on with, or None, then the alternatives], each (text, label)."""
    if not isinstance(step, Mapping):
        raise RecordError("label.steps: expected objects", type(step).__name__)
    rated = []
    completions = step.get("completions")
    if not isinstance(completions, (list, tuple, type(None))):
        raise RecordError("label.steps.completions: expected a list", type(completions).__name__)
    for completion in completions or []:
        if not isinstance(completion, Mapping):
            raise RecordError("label.steps.completions: expected objects", type(completion).__name__)
        rated.append((text(completion, "text"), _prm800k_rating(completion.get("rating"), options)))
    human = step.get("human_completion")
    words = human.get("text") if isinstance(human, Mapping) else human
    if words is not None and not isinstance(words, str):
        raise RecordError("label.steps.human_completion: expected null, text or an object", type(human).__name__)
    chosen = step.get("chosen_completion")
    if chosen is None and len(rated) == 1 and not words:
        chosen = 0  # records that leave the only choice unsaid
    if chosen is not None:
        if not isinstance(chosen, int) or not 0 <= chosen < len(rated):
            raise RecordError("label.steps.chosen_completion: expected an index of completions",
                              f"{chosen!r} of {len(rated)} at step {number}")
        return [rated[chosen], *rated[:chosen], *rated[chosen + 1:]]
    # People wrote a step of their own where none of the samples was right.
    return [(words, 1.0) if words and words.strip() else None, *rated]


def _prm800k_rating(rating: Any, options: Options) -> float | None:
    if rating == 0 and rating is not False:
        return _NEUTRAL[str(options.neutral)]
    if isinstance(rating, bool) or not isinstance(rating, (int, type(None))) or rating not in _RATINGS:
        raise RecordError("rating: expected -1, 0, 1 or null", repr(rating)[:40])
    return _RATINGS[rating]


def _encode_prm800k(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    row = rows[0]
    ratings = [None if value is None else 1 if hard(value, options) else -1 for value in row_labels(row, options)]
    steps = [{"completions": [{"text": step, "rating": rating}], "human_completion": None, "chosen_completion": 0}
             for step, rating in zip(row.steps, ratings, strict=True)]
    question = {"problem": row.prompt, **({"ground_truth_answer": row.gold} if row.gold is not None else {})}
    return {"question": question, "label": {"steps": steps, "finish_reason": "solution" if row.finished else None},
            **extras(row, ("labeler", "timestamp", "generation", "is_quality_control_question",
                           "is_initial_screening_question"))}


# ---- ProcessBench: the first wrong step ----


def _decode_processbench(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    steps, first = texts(record, "steps"), record.get("label")
    if isinstance(first, bool) or not isinstance(first, int) or not -1 <= first < len(steps):
        raise RecordError("label: expected -1 or the index of a step", f"{first!r} of {len(steps)} steps")
    marks: list[float | None] = [1.0] * len(steps)
    if first >= 0:  # nothing is said of the steps after the first wrong one
        marks[first:] = [0.0, *[None] * (len(steps) - first - 1)]
    outcome = label(record.get("final_answer_correct"), "final_answer_correct")
    row = StepRow(prompt=text(record, "problem"), steps=tuple(steps), labels=tuple(marks), outcome=outcome,
                  solution_id=str(record.get("id", "")))
    yield with_extra(row, record, ("id", "problem", "steps", "final_answer_correct", "label"))


def _encode_processbench(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    row = rows[0]
    first = -1
    for index, value in enumerate(row_labels(row, options)):
        if value is None:
            raise RecordError("labels: expected one for every step up to the first wrong one",
                              f"none for step {index + 1}")
        if not hard(value, options):
            first = index
            break
    correct = None if row.outcome is None else hard(row.outcome, options)
    return {"id": row.solution_id, **extras(row, ("generator",)), "problem": row.prompt, "steps": list(row.steps),
            "final_answer_correct": correct, "label": first}


# ---- PRMBench: a process made wrong on purpose ----

_PRMBENCH = ("original_question", "original_process", "modified_steps", "reason", "idx", "question", "classification")


def _decode_prmbench(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    steps = objects(record, "modified_process")
    if not all(isinstance(step, str) for step in steps):  # empty ones are part of the benchmark, and are judged
        raise RecordError("modified_process: expected texts", "something else")
    wrong = record.get("error_steps")
    if not isinstance(wrong, (list, tuple)) or any(isinstance(n, bool) or not isinstance(n, int) or n < 1
                                                   for n in wrong):
        raise RecordError("error_steps: expected numbers of steps from 1", f"{wrong!r} of {len(steps)} steps"[:60])
    if any(n > len(steps) for n in wrong):  # in one published record of sixty; the benchmark's own scoring skips them
        report.repair("error_steps: numbers behind the last step, which were left out")
    marks = tuple(0.0 if number in wrong else 1.0 for number in range(1, len(steps) + 1))
    row = StepRow(prompt=text(record, "modified_question"), steps=tuple(steps), labels=marks,
                  solution_id=str(record.get("idx", "")))
    yield with_extra(row, record, ("modified_question", "modified_process", "error_steps"))


def _encode_prmbench(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    row = rows[0]
    wrong = [index for index, value in enumerate(full_labels(row, options), start=1) if not hard(value, options)]
    return {"original_question": row.prompt, "original_process": list(row.steps), "modified_steps": wrong,
            "idx": row.solution_id, **extras(row, _PRMBENCH), "modified_question": row.prompt,
            "modified_process": list(row.steps), "error_steps": wrong}


FORMATS = (
    Format("trl", "prompt, completions, labels: stepwise supervision", _decode_trl, _encode_trl),
    Format("rlhflow", "conversations: the assistant answers every step with + or -", _decode_rlhflow, _encode_rlhflow),
    Format("prm800k", "question, label.steps[].completions[] with ratings -1, 0, 1", _decode_prm800k, _encode_prm800k,
           check=_check_prm800k),
    Format("processbench", "problem, steps, label: the first wrong step", _decode_processbench, _encode_processbench),
    Format("prmbench", "modified_question, modified_process, error_steps", _decode_prmbench, _encode_prmbench),
)
