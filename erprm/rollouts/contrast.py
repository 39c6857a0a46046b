"""Completions as training rows: nothing that was sampled and graded is thrown away.

    contrast_rows("runs/labels", read_rows("runs/labels/rows.parquet"), per_prefix=4)

A completion is a whole solution whose outcome is known. Where a prefix has both right and wrong completions, equally
many of each become rows. Their last step is labelled with the outcome, exactly; steps of the prefix keep their counts;
steps between have no label. Choosing by outcome biases nothing, since the value of a finished solution is its outcome
whatever was chosen. (For targets of kind "outcome", which label every step with the outcome, it does: see
docs/rollouts.md.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from erprm.errors import InputError
from erprm.rollouts.prefixes import Prefixes
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow
from erprm.steps import Steps, gaps_to_keep, join_steps, separator, split_steps

Counts = dict[tuple[str, ...], tuple[int, int]]


def contrast_rows(place: str | Path, rows: Iterable[StepRow], per_prefix: int, splitter: str = "newline",
                  ) -> Iterator[StepRow]:
    """Up to `per_prefix` right and as many wrong completions of each prefix in a labelling store, as rows.

    Args:
        place: the store that `erprm.rollouts.run.label` filled.
        rows: the labelled rows of that store.
        per_prefix: how many of each at most. The earliest samples with different texts are taken, so that a store gives
            the same rows every time.

    Returns:
        Rows in the order in which their prefixes are first met, right and wrong in turn.

    Raises:
        InputError: for per_prefix < 1 or a place without a store.
    """
    if per_prefix < 1:
        raise InputError(f"per_prefix: expected at least 1, found {per_prefix}")
    known: dict[str, Counts] = {}
    about: dict[tuple[str, str], tuple[StepRow, Prefixes, int]] = {}
    for row in rows:
        counts = known.setdefault(row.problem_id, {})
        prefixes = Prefixes.of(row.steps, row.gaps, splitter, row.finished)
        for length, k, n in zip(range(1, len(row.steps) + 1), row.successes or (), row.trials or (), strict=False):
            counts[prefixes.keys[:length]] = (k, n)
            about.setdefault((row.problem_id, prefixes.text(length)), (row, prefixes, length))
    found: dict[tuple[str, str], dict[bool, dict[str, str | None]]] = {}
    for part in read_parts(place, ["problem_id", "prefix", "sample", "text", "finish_reason", "answer", "right"]):
        for record in part.sort_by("sample").to_pylist():
            key = (record["problem_id"], record["prefix"])
            if record["finish_reason"] != "stop" or not record["text"].strip() or key not in about:
                continue
            texts = found.setdefault(key, {True: {}, False: {}})[record["right"]]
            if len(texts) < per_prefix:
                texts.setdefault(record["text"], record["answer"])
    for (problem_id, prefix), verdicts in found.items():
        row, prefixes, length = about[problem_id, prefix]
        for number, pair in enumerate(zip(verdicts[True].items(), verdicts[False].items(), strict=False)):
            for outcome, (text, answer) in zip((1.0, 0.0), pair, strict=True):
                whole = _continued(prefixes, length, prefix, split_steps(text, splitter))
                keys = Prefixes.of(whole, whole.gaps, splitter, ended=True).keys
                counted = [known[problem_id].get(keys[:end], (0, 0)) for end in range(1, len(whole))]
                yield StepRow(
                    prompt=row.prompt, steps=tuple(whole), outcome=outcome, finished=True, problem_id=row.problem_id,
                    successes=(*(k for k, _ in counted), int(outcome)), trials=(*(n for _, n in counted), 1),
                    solution_id=f"{row.solution_id}/{length}/{number}{'+' if outcome else '-'}", answer=answer,
                    gold=row.gold, gaps=gaps_to_keep(whole, finished=True))


def _continued(prefixes: Prefixes, length: int, prefix: str, written: Steps) -> Steps:
    """The first `length` steps, whose text is `prefix`, and those that were written behind it."""
    steps = prefixes.steps[:length]
    if prefixes.gaps is None:
        between = separator(prefixes.splitter)
        gaps = ("", *[between] * length)
    else:
        gaps = (*prefixes.gaps[:length], prefix[len(join_steps(steps, gaps=(*prefixes.gaps[:length], ""))):])
    return Steps([*steps, *written], (*gaps[:-1], gaps[-1] + written.gaps[0], *written.gaps[1:]))
