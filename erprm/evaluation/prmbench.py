"""PRMBench (arXiv 2501.03124): does a PRM mark exactly the steps that were made wrong on purpose?

    rows = list(read("prmbench.jsonl", "prmbench"))
    results = evaluate_prmbench(rows, scorer.score(rows))
    results["overall"].score, results["redundency"].score          # the file's own spelling

Every step is judged right, where its score is above the threshold, or wrong. F1 is taken once with right steps as the
positives and once with wrong ones; the PRM score is their mean, of a class without a wrong step (multi_solutions) the
first alone. It is given per class of error and overall, over the steps of all classes together. The authors' evaluation
does the same; it also takes a judgement of redundancy of its own where a model has one, as a PRM of one score has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.evaluation.thresholds import THRESHOLDS, highest
from erprm.rows import StepRow


@dataclass(frozen=True, slots=True)
class PRMBenchResult:
    """Step judgements of one class. `wrong_steps`: how many of `steps` are wrong in truth."""

    solutions: int
    steps: int
    wrong_steps: int
    f1_right: float
    f1_wrong: float
    accuracy: float

    @property
    def score(self) -> float:
        """The PRM score: the mean of the two F1s; of steps that are all right the one that they have."""
        return 0.5 * (self.f1_right + self.f1_wrong) if self.wrong_steps else self.f1_right


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
        judged.append(np.asarray(given) > threshold)
    groups = dict(sorted(groups.items())) | {"overall": list(range(len(rows)))}
    return {name: _judge([right[i] for i in members], [judged[i] for i in members]) for name, members in groups.items()}


def best_prmbench_threshold(rows: Sequence[StepRow], scores: Sequence[npt.NDArray[np.floating]]) -> float:
    """The threshold among `THRESHOLDS` with the highest overall score, the middle one of equals."""
    return highest(THRESHOLDS, lambda threshold: evaluate_prmbench(rows, scores, threshold)["overall"].score)


def _judge(right: Sequence[npt.NDArray[np.bool_]], judged: Sequence[npt.NDArray[np.bool_]]) -> PRMBenchResult:
    truth, said = np.concatenate(right), np.concatenate(judged)
    return PRMBenchResult(len(right), truth.size, int((~truth).sum()), _f1(truth, said), _f1(~truth, ~said),
                          float(np.mean(truth == said)))


def _f1(truth: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_]) -> float:
    both, either = int(np.sum(truth & said)), int(truth.sum() + said.sum())
    return 2.0 * both / either if either else 0.0
