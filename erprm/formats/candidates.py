"""Formats with all candidates of a problem in one record: RLHFlow best-of-N, search-and-learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.formats.base import Format, Options, RecordError, Report, label, objects, text, unix_lines, with_extra
from erprm.formats.tagged import split_tagged
from erprm.rows import StepRow
from erprm.steps import join_steps, split_steps


def _steps(answer: Any, name: str, options: Options, report: Report) -> tuple[str, ...]:
    if not isinstance(answer, str) or not answer.strip():
        raise RecordError(f"{name}: expected texts", repr(answer)[:40])
    answer = unix_lines(answer, name, report)
    if options.tag in answer:
        return tuple(chunk.strip() for chunk in split_tagged(answer, options.tag)[0])
    return tuple(split_steps(answer, options.splitter))


def _joined(row: StepRow, options: Options) -> str:
    answer = join_steps(row.steps, options.splitter)
    if options.tag in answer or split_steps(answer, options.splitter) != list(row.steps):
        raise RecordError(f"steps: expected texts that a {options.splitter} keeps apart", repr(answer[:60]))
    return answer


def _decode_best_of_n(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    prompt, answers = text(record, "prompt"), objects(record, "answers")
    name = "label" if "label" in record else "labels"
    outcomes = objects(record, name)
    if len(outcomes) != len(answers):
        raise RecordError(f"{name}: expected one per answer", f"{len(outcomes)} for {len(answers)} answers")
    for answer, outcome in zip(answers, outcomes, strict=True):
        try:
            row = StepRow(prompt=prompt, steps=_steps(answer, "answers", options, report), outcome=label(outcome, name))
        except RecordError as error:
            report.drop(error.reason, str(error))
            continue
        yield with_extra(row, record, ("prompt", "answers", name))


def _encode_best_of_n(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    if any(row.outcome not in (0.0, 1.0) for row in rows):
        raise RecordError("outcome: expected 0 or 1", str(next(r.outcome for r in rows if r.outcome not in (0.0, 1.0))))
    return {"prompt": rows[0].prompt, "answers": [_joined(row, options) for row in rows],
            "label": [int(row.outcome or 0) for row in rows]}


def _decode_search(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    """The choices that were made by the scores stay in `extra`: they are predictions, not labels."""
    problem, completions = text(record, "problem"), objects(record, "completions")
    scores, tokens = (record.get(name) for name in ("scores", "completion_tokens"))
    for name, values in (("scores", scores), ("completion_tokens", tokens)):
        if isinstance(values, (list, tuple)) and len(values) != len(completions):
            raise RecordError(f"{name}: expected one per completion", f"{len(values)} for {len(completions)}")
    gold = record.get("answer")
    rest = {name: value for name, value in record.items()
            if name not in ("problem", "completions", "scores", "completion_tokens", "answer")}
    for index, completion in enumerate(completions):
        try:
            steps = _steps(completion, "completions", options, report)
        except RecordError as error:
            report.drop(error.reason, str(error))
            continue
        extra: dict[str, Any] = {}
        of_steps = _step_scores(scores[index], steps) if isinstance(scores, (list, tuple)) else None
        if isinstance(scores, (list, tuple)) and of_steps is None:
            extra["scores"] = scores[index]
        if isinstance(tokens, (list, tuple)):
            extra["completion_tokens"] = tokens[index]
        row = StepRow(prompt=problem, steps=steps, gold=None if gold is None else str(gold), scores=of_steps,
                      extra=extra)
        yield with_extra(row, rest, ())


def _step_scores(scores: Any, steps: Sequence[str]) -> tuple[float, ...] | None:
    """The scores as those of the row's steps; None where they are something else (of other steps, say)."""
    if not isinstance(scores, (list, tuple)) or len(scores) != len(steps):
        return None
    if not all(isinstance(score, (int, float)) and abs(score) < 1e30 for score in scores):
        return None
    return tuple(map(float, scores))


def _encode_search(rows: Sequence[StepRow], options: Options) -> Mapping[str, Any]:
    own = {"scores", "completion_tokens"}
    record: dict[str, Any] = {name: value for name, value in rows[0].extra.items() if name not in own}
    record |= {"problem": rows[0].prompt, "completions": [_joined(row, options) for row in rows]}
    if all(row.scores is not None for row in rows):
        record["scores"] = [list(row.scores or ()) for row in rows]
    for name in sorted(own):
        if all(name in row.extra for row in rows):
            record[name] = [row.extra[name] for row in rows]
    if rows[0].gold is not None:
        record["answer"] = rows[0].gold
    return record


FORMATS = (
    Format("rlhflow-bon", "prompt, answers, label: candidates with outcomes", _decode_best_of_n, _encode_best_of_n,
           grouped=True),
    Format("search-and-learn", "problem, completions, scores, pred: candidates with step scores", _decode_search,
           _encode_search, grouped=True),
)
