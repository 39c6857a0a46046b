"""What the demo makes of its scored solutions: each model's aggregation, results.json and the report.

The files of a run, by the names that `scored` gives, hold the rows of a stage with one model's step scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from erprm.demo.settings import DemoSettings, Target
from erprm.evaluation.curves import accuracy_curves, compare
from erprm.evaluation.pools import Groups, group_by_problem, pool_of
from erprm.evaluation.report import ExampleSolution, ScoredStep, write_report
from erprm.files.json_files import read_json, read_record, write_json, write_record
from erprm.rows import StepRow, by_score_column, read_rows, row_scores
from erprm.selection.best_of_n import best_of_n_by_problem
from erprm.statistics.bootstrap import bootstrap_interval, paired_test
from erprm.statistics.calibration import calibrate
from erprm.values import Array

TRIED = ("min", "last", "product", "mean", "soft_min")  # aggregations
NS = (1, 2, 4, 8, 16, 32, 64)


def scored(folder: Path, name: str, model: str) -> Path:
    """Where the rows called `name` lie with the step scores of a model."""
    return folder / f"{name}-{model}.parquet"


def scored_rows(folder: Path, name: str, targets: Sequence[Target]) -> dict[str, list[StepRow]]:
    """By target the rows called `name` with its scores."""
    found: dict[str, list[StepRow]] = {}
    for model, learnt in itertools.groupby(targets, lambda target: target.model):
        columns = by_score_column(list(read_rows(scored(folder, name, model))))
        found |= zip((target.name for target in learnt), columns.values(), strict=True)
    return found


def choose_aggregations(folder: Path, targets: Sequence[Target]) -> None:
    """aggregation.json: by target, how its model's step scores become one number."""
    write_record(folder / "aggregation.json", best_aggregations(_groups(folder, "validation", targets)))


def aggregations(folder: Path, targets: Sequence[Target]) -> dict[str, str]:
    """The choice. Raises InputError where it is missing or damaged."""
    return read_record(folder / "aggregation.json", f"give another --out, or remove {folder}",
                       [target.name for target in targets])


def best_aggregations(groups: Groups) -> dict[str, str]:
    """By scorer the aggregation that serves best-of-N best on these pools, over their largest three sizes of N."""
    pools = {name: pool_of(groups, name) for name in TRIED}
    ns = _sizes(groups)[-3:]
    return {scorer: max(pools, key=lambda name: float(best_of_n_by_problem(
        pools[name].scores[scorer], pools[name].correct, ns).mean(axis=0).mean())) for scorer in groups.scores}


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


def write_outcome(folder: Path, settings: DemoSettings, seconds: Mapping[str, float]) -> Path:
    """results.json, the figures and the report; returns the report's path."""
    targets, main = settings.targets, settings.main
    chosen = aggregations(folder, targets)
    groups = _groups(folder, "pool", targets)
    curves = accuracy_curves(pool_of(groups, chosen), _sizes(groups), weigh_by=main, seed=settings.seed)
    votes = [name for name in ("majority", "weighted_majority") if name in curves.by_problem]
    rivals = ["pass@1", *votes, *(target.name for target in targets if target.name != main)]
    truth = scored_rows(folder, "truth", targets)
    alone = pass_at_1(itertools.chain.from_iterable(groups.rows))
    results = {
        "seed": settings.seed, "task": settings.task, "problems": settings.heldout_problems,
        "policy": {"parameters": _parameters(folder / "models" / "policy"), "pass@1": float(alone.mean())},
        "labels": _label_counts(read_rows(folder / "labels" / "rows.parquet")),
        "reward_models": {model: _trained(folder / "models" / f"prm-{model}") for model in settings.models},
        "aggregation": chosen,
        "best_of_n": curves.table(),
        "raft": _raft(alone, pass_at_1(read_rows(folder / "pool-raft.parquet")), settings.seed),
        "seconds": seconds,
    }
    write_json(folder / "results.json", results)
    return write_report(
        results, folder, paired=compare(curves, [(main, rival) for rival in rivals], curves.ns[-1]),
        examples=_examples(truth[main], next(target for target in targets if target.name == main)),
        calibration=[calibrate(np.concatenate([row_scores(row) for row in truth[target.name]]),
                               np.concatenate([target.values(row) for row in truth[target.name]]), name=target.name)
                     for target in targets])


def pass_at_1(rows: Iterable[StepRow]) -> Array:
    """[P]: by problem, in the problems' order, the share of right samples."""
    outcomes: dict[str, list[float]] = {}
    for row in rows:
        outcomes.setdefault(row.problem_id, []).append(float(row.outcome or 0))
    return np.array([np.mean(values) for values in outcomes.values()])


def _groups(folder: Path, name: str, targets: Sequence[Target]) -> Groups:
    return group_by_problem(scored_rows(folder, name, targets))


def _sizes(groups: Groups) -> list[int]:
    return [n for n in NS if n <= len(groups.rows[0])]


def _examples(rows: Sequence[StepRow], target: Target) -> list[ExampleSolution]:
    """Three held-out solutions: the best-scored right one, and the wrong ones whose value falls latest and earliest."""
    right = sorted((row for row in rows if row.outcome), key=lambda row: -min(row_scores(row)))
    values = {id(row): target.values(row) for row in rows}
    wrong = sorted((row for row in rows if not row.outcome), key=lambda row: (
        int(np.argmax(np.diff(np.concatenate([[1.0], values[id(row)]])) < -0.05)), float(values[id(row)][0])))
    chosen = [(row, "the best-scored right solution") for row in right[:1]]
    chosen += zip(wrong[-1:] + wrong[:1], ("wrong: on the way until late", "wrong: lost early"), strict=False)
    return [ExampleSolution(
        question=row.prompt, correct=bool(row.outcome), answer=row.answer or "", gold=row.gold or "", note=note,
        steps=tuple(map(ScoredStep, row.steps, row_scores(row), values[id(row)].tolist(), row.successes or (),
                        row.trials or ())),
        score_name=f"score ({target.name})", value_name="Monte-Carlo value") for row, note in chosen]


def _raft(before: Array, after: Array, seed: int) -> dict[str, Any]:
    """Held-out pass@1 before and after, the interval of the latter, and the paired difference."""
    low, high = bootstrap_interval(after, seed=seed)
    gain = paired_test(after, before, seed=seed)
    return {"before": float(before.mean()), "after": float(after.mean()), "low": float(low), "high": float(high),
            "gain": {"difference": gain.difference, "low": gain.low, "high": gain.high, "p": gain.p}}


def _parameters(model: Path) -> int:
    from safetensors import safe_open

    with safe_open(model / "model.safetensors", "np") as weights:
        return sum(int(np.prod(weights.get_slice(key).get_shape())) for key in weights.keys())  # noqa: SIM118


def _trained(model: Path) -> dict[str, float]:
    """Optimiser steps until training ended, and the best step AUC on validation rows."""
    history, metrics = (read_json(model / name, f"give another --out, or remove {model.parents[1]}", kind)
                        for name, kind in (("history.json", list), ("metrics.json", dict)))
    return {"steps": max(entry["step"] for entry in history), "validation_step_auc": metrics["eval_step_auc"]}


def _label_counts(rows: Iterable[StepRow]) -> dict[str, int]:
    steps = 0
    trials: dict[object, int] = {}
    for row in rows:
        steps += len(row.steps)
        trials |= {(row.problem_id, row.steps[:length]): (row.trials or ())[length - 1]
                   for length in range(1, len(row.steps) + (not row.finished))}
    return {"prefixes": steps, "completions": sum(trials.values()), "distinct_prefixes": len(trials)}
