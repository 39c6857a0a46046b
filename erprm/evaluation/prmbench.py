"""PRMBench (arXiv 2501.03124): does a PRM mark exactly the steps that were made wrong on purpose?

    rows = list(read("prmbench.jsonl", "prmbench"))
    results = evaluate_prmbench(rows, scorer.score(rows))
    results["overall"].score, results["redundency"].score

Every step is judged right or wrong at a threshold. F1 is taken once with right steps as the positives and once with
wrong ones; their mean is the PRM score, given per class of error and overall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.rows import StepRow


@dataclass(frozen=True, slots=True)
class PRMBenchResult:
    """Step judgements of one class. `score` is the mean of the two F1s."""

    solutions: int
    steps: int
    f1_right: float
    f1_wrong: float
    accuracy: float

    @property
    def score(self) -> float:
        """The PRM score."""
        return 0.5 * (self.f1_right + self.f1_wrong)


def evaluate_prmbench(rows: Sequence[StepRow], scores: Sequence[npt.NDArray[np.floating]], threshold: float = 0.5,
                      ) -> dict[str, PRMBenchResult]:
    """By class of error ("classification" of the record), then "overall".

    Raises:
        InputError: for no rows, rows without labels, or scores that do not match the steps.
    """
    if not rows:
        raise InputError("PRMBench: expected at least one row, found none")
    groups: dict[str, list[int]] = {}
    right, judged = [], []
    for index, (row, given) in enumerate(zip(rows, scores, strict=True)):
        if row.labels is None or any(label is None for label in row.labels):
            raise InputError(f"PRMBench row {row.solution_id!r}: expected a label for every step")
        if len(given) != len(row.steps):
            raise InputError(f"PRMBench row {row.solution_id!r}: expected {len(row.steps)} scores, found {len(given)}")
        groups.setdefault(str(row.extra.get("classification", "unclassified")), []).append(index)
        right.append(np.array(row.labels, np.float64) > 0.5)
        judged.append(np.asarray(given) >= threshold)
    groups = dict(sorted(groups.items())) | {"overall": list(range(len(rows)))}
    return {name: _judge([right[i] for i in members], [judged[i] for i in members]) for name, members in groups.items()}


def _judge(right: Sequence[npt.NDArray[np.bool_]], judged: Sequence[npt.NDArray[np.bool_]]) -> PRMBenchResult:
    truth, said = np.concatenate(right), np.concatenate(judged)
    return PRMBenchResult(len(right), truth.size, _f1(truth, said), _f1(~truth, ~said), float(np.mean(truth == said)))


def _f1(truth: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_]) -> float:
    both, either = int(np.sum(truth & said)), int(truth.sum() + said.sum())
    return 2.0 * both / either if either else 0.0
