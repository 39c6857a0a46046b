"""search-and-learn: all completions of a problem with their step scores and what was chosen by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from erprm.formats import fields
from erprm.formats.base import Format, Options, RecordError, Report
from erprm.formats.candidates import joined, steps_of
from erprm.rows import StepRow


def _decode_search(record: Mapping[str, Any], options: Options, report: Report) -> Iterator[StepRow]:
    """The choices that were made by the scores stay in `extra`: they are predictions, not labels."""
    problem, completions = fields.text(record, "problem"), fields.objects(record, "completions")
    scores, tokens = (record.get(name) for name in ("scores", "completion_tokens"))
    for name, values in (("scores", scores), ("completion_tokens", tokens)):
        if isinstance(values, (list, tuple)) and len(values) != len(completions):
            raise RecordError(f"{name}: expected one per completion", f"{len(values)} for {len(completions)}")
    gold = record.get("answer")
    rest = {name: value for name, value in record.items()
            if name not in ("problem", "completions", "scores", "completion_tokens", "answer")}
    for index, completion in enumerate(completions):
        try:
            steps = steps_of(completion, "completions", options, report)
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
        yield fields.with_extra(row, rest, ())


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
    record |= {"problem": rows[0].prompt, "completions": [joined(row, options) for row in rows]}
    if all(row.scores is not None for row in rows):
        record["scores"] = [list(row.scores or ()) for row in rows]
    for name in sorted(own):
        if all(name in row.extra for row in rows):
            record[name] = [row.extra[name] for row in rows]
    if rows[0].gold is not None:
        record["answer"] = rows[0].gold
    return record


FORMATS = (
    Format("search-and-learn", "problem, completions, scores, pred: candidates with step scores", _decode_search,
           _encode_search, options=("tag", "splitter"), grouped=True),
)
