"""The demo's last stage: from scored pools to results.json and the report."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from erprm.evaluation.curves import Curves, Pool, accuracy_curves, compare
from erprm.evaluation.report import ExampleSolution, ScoredStep, write_report
from erprm.rows import StepRow
from erprm.selection.aggregate import aggregate_all
from erprm.selection.best_of_n import best_of_n_curve
from erprm.statistics.bootstrap import Comparison, bootstrap_interval, paired_test
from erprm.statistics.calibration import Calibration, calibrate
from erprm.values import Array, row_targets

AGGREGATIONS = ("min", "last", "product", "mean", "soft_min")
NS = (1, 2, 4, 8, 16, 32, 64)
StepScores = Sequence[Array]


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of training target: its selector's name and how the counts become values.

    All models train on the same rows, contrasts among them. These are chosen by outcome, which biases no label but
    those that an outcome model gives to steps before the last. Labelling only the last step of a contrast instead was
    tried: an unbiased but far weaker outcome model, 12 % where this one reaches 43 % at best of 64.
    """

    name: str
    kind: str
    eta: float = 0.0

    def values(self, row: StepRow) -> Array:
        """[L] float64: the targets of a labelled row."""
        return row_targets(row, self.kind, self.eta)


def targets_of(etas: Sequence[float]) -> list[Target]:
    """The outcome model, soft and hard labels, and entropy-regularised ones for each eta."""
    return [Target("orm", "outcome"), Target("soft", "soft"), Target("hard", "hard"),
            *(Target(f"er_eta_{eta:g}", "er", eta) for eta in etas)]


def best_aggregation(rows: Sequence[StepRow], scores: StepScores) -> str:
    """The aggregation of step scores that serves best-of-N best on this pool, over its largest three sizes of N."""
    size, correct = _correct(rows)
    ns = [n for n in NS if n <= size][-3:]
    return max(AGGREGATIONS, key=lambda how: float(best_of_n_curve(
        aggregate_all(scores, how).reshape(-1, size), correct, ns).mean()))


def some_of_each(rows: Sequence[StepRow], count: int, seed: int) -> list[StepRow]:
    """Finished solutions of `count` different problems, right ones and wrong ones in turn as far as there are."""
    shuffled = [rows[index] for index in np.random.default_rng(seed).permutation(len(rows)) if rows[index].finished]
    chosen: dict[str, StepRow] = {}
    right, wrong = ([row for row in shuffled if bool(row.outcome) == verdict] for verdict in (True, False))
    for pair in itertools.zip_longest(right, wrong):
        for row in pair:
            if row is not None and len(chosen) < count:
                chosen.setdefault(row.problem_id, row)
    return list(chosen.values())


def _correct(rows: Sequence[StepRow]) -> tuple[int, Array]:
    """(N, outcomes [P, N]); the candidates of a problem stand together, equally many each."""
    size = sum(row.problem_id == rows[0].problem_id for row in rows)
    return size, np.array([row.outcome for row in rows], np.float64).reshape(-1, size)


def pool_curves(rows: Sequence[StepRow], scores: Mapping[str, StepScores], how: Mapping[str, str], weigh_by: str,
                seed: int) -> Curves:
    """Best-of-N curves of every scorer on one pool, with each scorer's own aggregation."""
    size, correct = _correct(rows)
    answers = [[row.answer for row in rows[begin:begin + size]] for begin in range(0, len(rows), size)]
    reduced = {name: aggregate_all(values, how[name]).reshape(-1, size) for name, values in scores.items()}
    return accuracy_curves(Pool(answers, correct, reduced), [n for n in NS if n <= size], weigh_by=weigh_by, seed=seed)


def comparisons(curves: Curves, targets: Sequence[Target], main: str) -> list[Comparison]:
    """The main target against pass@1, the votes and every other target, at the largest N."""
    rivals = ["pass@1", "majority", "weighted_majority", *(target.name for target in targets if target.name != main)]
    return compare(curves, [(main, rival) for rival in rivals], curves.ns[-1])


def calibrations(truth: Sequence[StepRow], scores: Mapping[str, StepScores], targets: Sequence[Target],
                 ) -> list[Calibration]:
    """Each model's step scores against its own kind of value, from the Monte-Carlo counts of held-out steps."""
    return [calibrate(np.concatenate(list(scores[target.name])),
                      np.concatenate([target.values(row) for row in truth]), name=target.name) for target in targets]


def examples(truth: Sequence[StepRow], scores: StepScores, target: Target, problems: Mapping[str, Any],
             ) -> list[ExampleSolution]:
    """Three held-out solutions: the best-scored right one, and the wrong ones whose value falls latest and earliest."""
    right = [index for index, row in enumerate(truth) if row.outcome]
    wrong = [index for index, row in enumerate(truth) if not row.outcome]
    drops = {index: int(np.argmax(np.diff(np.concatenate([[1.0], target.values(truth[index])])) < -0.05))
             for index in wrong}
    wrong.sort(key=lambda index: (drops[index], float(target.values(truth[index])[0])))
    chosen = [(index, "the best-scored right solution") for index in sorted(right, key=lambda i: -scores[i].min())[:1]]
    chosen += [(index, note) for index, note in zip(
        wrong[-1:] + wrong[:1], ("wrong: on the way until late", "wrong: lost early"), strict=False)]
    return [_example(truth[index], scores[index], target, problems[truth[index].problem_id], note)
            for index, note in chosen]


def _example(row: StepRow, scores: Array, target: Target, problem: Any, note: str) -> ExampleSolution:
    assert row.successes is not None
    assert row.trials is not None
    steps = tuple(ScoredStep(text, float(score), float(value), k, n) for text, score, value, k, n in zip(
        row.steps, scores, target.values(row), row.successes, row.trials, strict=True))
    return ExampleSolution(question=row.prompt, steps=steps, correct=bool(row.outcome), answer=row.answer or "",
                           gold=problem.answer, note=note, score_name=f"score ({target.name})",
                           value_name="Monte-Carlo value")


def pass_at_1(rows: Sequence[StepRow]) -> Array:
    """[P]: by problem, in the problems' order, the share of right samples."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row.problem_id, []).append(float(row.outcome or 0))
    return np.array([np.mean(values) for values in groups.values()])


def raft_result(before: Sequence[StepRow], after: Sequence[StepRow], seed: int) -> dict[str, Any]:
    """Held-out pass@1 before and after, the interval of the latter, and the paired difference."""
    first, second = pass_at_1(before), pass_at_1(after)
    low, high = bootstrap_interval(second, seed=seed)
    gain = paired_test(second, first, seed=seed)
    return {"before": float(first.mean()), "after": float(second.mean()), "low": float(low), "high": float(high),
            "gain": {"difference": gain.difference, "low": gain.low, "high": gain.high, "p": gain.p}}


def write_results(folder: Path, results: Mapping[str, Any], *, shown: Sequence[ExampleSolution],
                  calibration: Sequence[Calibration], paired: Sequence[Comparison]) -> Path:
    """results.json and the report, in `folder`; returns the report's path."""
    path = folder / "results.json"
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)
    return write_report(results, folder, examples=shown, calibration=calibration, paired=paired)


