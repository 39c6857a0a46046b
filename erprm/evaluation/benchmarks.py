"""ProcessBench and PRMBench for step scores, from a model or a file, with a threshold that other rows chose.

    rows, scores = model_scores(scorer, rows, "error")
    result = processbench(rows, scores, threshold=None, development=0.2, seed=0)
    result["development"]["threshold"], result["development"]["f1"]

Without a threshold it is chosen on a development split, a share of the problems drawn with the seed, and the number is
that of the other problems. The threshold 0.5 on all rows stands beside it, and for ProcessBench the best threshold for
these very rows, an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from erprm.errors import InputError
from erprm.evaluation.prmbench import PRMBenchResult, best_prmbench_threshold, evaluate_prmbench
from erprm.evaluation.processbench import best_threshold, evaluate_processbench, first_wrong
from erprm.prm.scoring.scorer import PRMScorer
from erprm.rows import StepRow
from erprm.values import Array

MIDDLE = 0.5


def processbench(rows: Sequence[StepRow], scores: Sequence[Array], threshold: float | None, development: float,
                 seed: int) -> dict[str, Any]:
    """`fixed` at the threshold (0.5 when None); when None also `development` and `own_best`, see above.

    `development` is None where no split has right and wrong solutions on both sides.
    """
    fixed = evaluate_processbench(rows, scores, MIDDLE if threshold is None else threshold, seed)
    if threshold is not None:
        return {"fixed": asdict(fixed)}
    wrong = [first_wrong(row) >= 0 for row in rows]
    split = _development(rows, scores, development, seed, wrong, best_threshold,
                         lambda rest, given, chosen: asdict(evaluate_processbench(rest, given, chosen, seed)))
    return {"fixed": asdict(fixed), "development": split,
            "own_best": asdict(evaluate_processbench(rows, scores, best_threshold(rows, scores), seed))}


def prmbench(rows: Sequence[StepRow], scores: Sequence[Array], threshold: float | None, development: float,
             seed: int) -> dict[str, Any]:
    """As `processbench`, each result by class, without `own_best`; `development` needs wrong steps on both sides."""
    fixed = _by_class(evaluate_prmbench(rows, scores, MIDDLE if threshold is None else threshold))
    if threshold is not None:
        return {"fixed": fixed}
    wrong = [0.0 in (row.labels or ()) for row in rows]
    split = _development(rows, scores, development, seed, wrong, best_prmbench_threshold,
                         lambda rest, given, chosen: {"classes": _by_class(evaluate_prmbench(rest, given, chosen))})
    return {"fixed": fixed, "development": split}


def development_split(rows: Sequence[StepRow], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Row numbers of whole problems: at least `share` of the rows, and the others.

    Raises:
        InputError: for a share outside (0, 1).
    """
    if not 0.0 < share < 1.0:
        raise InputError(f"development: expected a share between 0 and 1, found {share}")
    problems: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        problems.setdefault(row.prompt, []).append(index)
    chosen: list[int] = []
    rest: list[int] = []
    members = list(problems.values())
    for place in np.random.default_rng(seed).permutation(len(members)):
        (chosen if len(chosen) < share * len(rows) else rest).extend(members[place])
    return sorted(chosen), sorted(rest)


def _development(rows: Sequence[StepRow], scores: Sequence[Array], share: float, seed: int,
                 wrong: Sequence[bool], best: Callable[[list[StepRow], list[Array]], float],
                 judge: Callable[[list[StepRow], list[Array], float], dict[str, Any]]) -> dict[str, Any] | None:
    if share == 0.0:
        return None
    chosen, rest = development_split(rows, share, seed)
    if any(len({wrong[index] for index in part}) < 2 for part in (chosen, rest)):
        return None
    threshold = best([rows[i] for i in chosen], [scores[i] for i in chosen])
    found = judge([rows[i] for i in rest], [scores[i] for i in rest], threshold)
    return found | {"threshold": threshold, "chosen_on": len(chosen), "solutions": len(rest)}


def _by_class(classes: dict[str, PRMBenchResult]) -> dict[str, Any]:
    return {name: asdict(part) | {"score": part.score} for name, part in classes.items()}


def model_scores(scorer: PRMScorer, rows: list[StepRow], too_long: str) -> tuple[list[StepRow], list[Array]]:
    """Rows and their step scores [L]; what is too long is treated as chosen and counted in print."""
    if too_long == "error" or scorer.max_length is None or not rows:
        return rows, [np.asarray(scores, np.float64) for scores in scorer.score(rows)]
    encoded = scorer.checkpoint.convention.encode([(row.prompt, row.steps) for row in rows])
    longer = sum(len(row.ids) > scorer.max_length for row in encoded)
    if longer:
        print(f"{longer:,} of {len(rows):,} rows are longer than {scorer.max_length:,} tokens and were "
              + ("left out" if too_long == "skip" else "cut; steps behind the cut count as judged right"))
    if too_long == "skip":
        kept = [row for row, tokens in zip(rows, encoded, strict=True) if len(tokens.ids) <= scorer.max_length]
        return kept, [np.asarray(scores, np.float64) for scores in scorer.score(kept)]
    begun = [row for row, tokens in zip(rows, encoded, strict=True) if tokens.tag_positions[0] < scorer.max_length]
    found = {id(row): scores for row, scores in zip(begun, scorer.score(begun), strict=True)}
    padded = [np.full(len(row.steps), np.inf) for row in rows]
    for row, scores in zip(rows, padded, strict=True):
        known = found.get(id(row), ())
        scores[: len(known)] = known
    return rows, padded
