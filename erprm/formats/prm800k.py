"""PRM800K: rated alternatives at every step of one path; what a rating of 0 means has to be chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.errors import InputError
from erprm.formats import fields
from erprm.formats.base import Format, Options, RecordError, Report
from erprm.rows import StepRow

_RATINGS: dict[Any, float | None] = {1: 1.0, -1: 0.0, None: None}
_NEUTRAL = {"good": 1.0, "bad": 0.0, "none": None}


def _check_prm800k(options: Options) -> None:
    if options.neutral not in _NEUTRAL:
        raise InputError("prm800k: neutral: expected good, bad or none (what a rating of 0 means), "
                         f"found {options.neutral!r}")


def _decode_prm800k(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    """The chosen path, then one row for each alternative: the path up to it and the alternative as the last step."""
    question = record.get("question")
    problem = fields.text(question, "problem") if isinstance(question, Mapping) else fields.text(record, "question")
    gold = question.get("ground_truth_answer") if isinstance(question, Mapping) else None
    body = record.get("label")
    if not isinstance(body, Mapping):
        raise RecordError("label: expected an object with steps", type(body).__name__)
    path: list[str] = []
    marks: list[float | None] = []
    branches: list[tuple[int, str, float | None]] = []
    for number, step in enumerate(fields.objects(body, "steps"), start=1):
        chosen = _prm800k_step(step, number, options)
        branches += [(len(path), words, mark) for words, mark in chosen[1:]]
        if chosen[0] is None:
            break
        path.append(chosen[0][0])
        marks.append(chosen[0][1])
    finished = body.get("finish_reason") == "solution"
    gold = str(gold) if gold is not None else None
    if path:
        row = StepRow(prompt=problem, steps=tuple(path), labels=tuple(marks), finished=finished, gold=gold)
        yield fields.with_extra(row, record, ("question", "label"))
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
        rated.append((fields.text(completion, "text"), _prm800k_rating(completion.get("rating"), options)))
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
    ratings = [None if value is None else 1 if fields.hard(value, options) else -1
               for value in fields.row_labels(row, options)]
    steps = [{"completions": [{"text": step, "rating": rating}], "human_completion": None, "chosen_completion": 0}
             for step, rating in zip(row.steps, ratings, strict=True)]
    question = {"problem": row.prompt, **({"ground_truth_answer": row.gold} if row.gold is not None else {})}
    return {"question": question, "label": {"steps": steps, "finish_reason": "solution" if row.finished else None},
            **fields.extras(row, ("labeler", "timestamp", "generation", "is_quality_control_question",
                           "is_initial_screening_question"))}


FORMATS = (
    Format("prm800k", "question, label.steps[].completions[] with ratings -1, 0, 1", _decode_prm800k, _encode_prm800k,
           options=("neutral", "threshold"), check=_check_prm800k),
)
