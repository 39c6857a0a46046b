"""What a first wrong step costs to find: bisection by the posterior, a fixed n, and --rmse, where values are exact.

    python bench/first_errors.py --out bench/results/first_errors.json

The policy is a task's own demonstration with wandering, whose success rate from every prefix is known exactly (a sum
over its moves), so that completions are drawn without a model and the first wrong step is what the task's checker
says. The cost of a completion is the steps that it has to write. Two tables come out for each task: steps written for
the accuracy of the first error, over seeds; and the share of wrong step labels, by kind of target, before and after a
consensus with a judge that names another step in one of five solutions.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import environment

from erprm.judging.consensus import agreeing
from erprm.problems.tasks import TASKS, Task
from erprm.problems.tasks.countdown import _moves, _solvable, _without
from erprm.rollouts.accuracy import Accurate
from erprm.rollouts.allocation import Chains, Tally
from erprm.rollouts.finding import FirstErrors
from erprm.rows import StepRow
from erprm.values.spec import TargetSpec

WANDERING = {"countdown": 0.5, "number_sorting": 0.3}
FIXED = (1, 2, 4, 8, 16)
RMSE = (0.3, 0.2, 0.1, 0.05)
CONFIDENCE = (0.8, 0.9, 0.95, 0.99, 0.999)
KINDS = {"hard": TargetSpec("hard"), "soft": TargetSpec("soft"), "er": TargetSpec("er", 2.0),
         "first-error": TargetSpec("first-error")}
Array = npt.NDArray[Any]


def sorting_rate(metadata: Any, steps: Sequence[str], wandering: float) -> float:
    """Success rate of sorting from an alive prefix: each number left is taken right, or by chance."""
    left = len(metadata["original_numbers"]) - len(steps)
    return float(np.prod([1 - wandering + wandering / rest for rest in range(1, left + 1)]))


def countdown_rate(metadata: Any, steps: Sequence[str], wandering: float) -> float:
    """Success rate of countdown from an alive prefix, over the moves of the demonstration."""
    state = tuple(map(int, steps[-1].partition(">")[2].split(",")))
    return _rate(tuple(sorted(state)), metadata["target"], wandering)


@functools.cache
def _rate(state: tuple[int, ...], target: int, wandering: float) -> float:
    if len(state) == 1:
        return float(state[0] == target)
    after = [tuple(sorted(_without(state, move[0], move[2], move[3]))) for move in _moves(state)]
    rates = np.array([_rate(one, target, wandering) for one in after])
    leading = np.array([_solvable(one, target) for one in after])
    chance = wandering if len(state) > 2 else 0.0
    if not leading.any():
        return float(rates.mean()) if len(rates) else 0.0
    return float(chance * rates.mean() + (1 - chance) * rates[leading].mean())


RATES: dict[str, Callable[[Any, Sequence[str], float], float]] = {"countdown": countdown_rate,
                                                                 "number_sorting": sorting_rate}


class Setting:
    """Solutions of a task with the exact rate of each prefix.

    rows: the solutions; error [S]: the first wrong step, their length where none; rates, cost, depth, parent, uses [N]
    of the distinct unfinished prefixes; chains: of these along the solutions.
    """

    def __init__(self, task: Task, problems: int, solutions: int, seed: int) -> None:
        wandering, rng = WANDERING[task.name], random.Random(seed)
        self.rows: list[StepRow] = []
        place: dict[tuple[str, ...], int] = {}
        rates: list[float] = []
        chains: list[int] = []
        error = []
        for problem in task.splits({"all": problems}, seed)["all"]:
            for _ in range(solutions):
                steps = task.demonstrate(problem.metadata, rng, wandering)
                assert steps is not None
                wrong = task.first_wrong(problem.metadata, steps)
                error.append(len(steps) if wrong is None else wrong)
                for length in range(1, len(steps)):
                    key = (problem.id, *steps[:length])
                    if key not in place:
                        place[key] = len(rates)
                        alive = length <= error[-1]
                        rates.append(RATES[task.name](problem.metadata, steps[:length], wandering) if alive else 0.0)
                    chains.append(place[key])
                chains.append(-1)
                self.rows.append(StepRow(problem.question, tuple(steps), outcome=float(wrong is None),
                                         problem_id=problem.id))
        lengths = [len(row.steps) for row in self.rows]
        self.error, self.rates = np.array(error), np.array(rates)
        self.depth = np.array([len(key) - 1 for key in place], np.int32)
        self.cost = max(lengths) - self.depth.astype(float)
        self.parent = np.array([place.get(key[:-1], -1) for key in place])
        self.uses = np.bincount([one for one in chains if one >= 0], minlength=len(rates))
        self.chains = Chains(np.cumsum([0, *lengths]), np.array(chains), np.array([row.outcome for row in self.rows]))

    def run(self, rule: Any, seed: int) -> tuple[Array, Array]:
        """(k, n) [N] as a rule asks; an int asks for so many of each."""
        rng, number = np.random.default_rng(seed), len(self.rates)
        if isinstance(rule, int):
            return rng.binomial(rule, self.rates), np.full(number, rule)
        k = n = np.zeros(number, np.int32)
        while True:
            more = rule.wanted(Tally(k, n, n, self.cost, self.depth, self.uses, self.parent, self.chains)) - n
            if not more.any():
                return k, n
            k, n = k + rng.binomial(more, self.rates).astype(np.int32), n + more

    def labelled(self, k: Array, n: Array) -> list[StepRow]:
        """The rows with their counts, as `erprm label` writes them."""
        done = []
        for row, begin in zip(self.rows, self.chains.offsets.tolist(), strict=False):
            at = self.chains.places[begin: begin + len(row.steps) - 1]
            done.append(StepRow(row.prompt, row.steps, outcome=row.outcome, problem_id=row.problem_id,
                                successes=(*k[at].tolist(), int(row.outcome or 0)), trials=(*n[at].tolist(), 1)))
        return done

    def found(self, rows: Sequence[StepRow]) -> float:
        """Share of solutions whose first wrong step is the checker's."""
        spec = TargetSpec("first-error").fitted_to_rows(rows)
        hits = []
        for row, error in zip(rows, self.error.tolist(), strict=True):
            wrong = np.flatnonzero(spec.of_row(row) < 0.5)  # NaN is none
            hits.append((int(wrong[0]) if len(wrong) else len(row.steps)) == error)
        return float(np.mean(hits))

    def wrong_labels(self, rows: Sequence[StepRow], spec: TargetSpec, kept: Sequence[bool]) -> float:
        """Share of step labels on the other side of 1/2 than the checker's (1 before the first wrong step, then 0)."""
        spec = spec.fitted_to_rows(rows)
        wrong, known = 0, 0
        for row, error, keep in zip(rows, self.error.tolist(), kept, strict=True):
            if keep:
                values = spec.of_row(row)
                there = ~np.isnan(values)
                wrong += int(((values > 0.5) != (np.arange(len(values)) < error))[there].sum())
                known += int(there.sum())
        return wrong / max(1, known)


def measure(name: str, problems: int, solutions: int, seeds: int) -> dict[str, Any]:
    """Both tables of one task."""
    rules: dict[str, Any] = {f"fixed n={n}": n for n in FIXED}
    rules |= {f"rmse {rmse}": Accurate(2.0, rmse, n_max=16) for rmse in RMSE}
    rules |= {f"first-error {confidence}": FirstErrors(confidence, n_max=16) for confidence in CONFIDENCE}
    setting = Setting(TASKS[name], problems, solutions, seed=11)
    found: dict[str, list[tuple[float, float]]] = {rule: [] for rule in rules}
    labels: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in KINDS}
    for seed in range(seeds):
        drawn = {}
        for rule, asked in rules.items():
            k, n = setting.run(asked, seed)
            drawn[rule] = setting.labelled(k, n)
            found[rule].append((float(n @ setting.cost), setting.found(drawn[rule])))
        judge = np.random.default_rng(1000 + seed)
        named = {id(row): int(error) if judge.random() < 0.8 else int(judge.integers(0, len(row.steps) + 1))
                 for row, error in zip(drawn["fixed n=16"], setting.error, strict=True)}
        agreed, _ = agreeing(drawn["fixed n=16"], lambda row, named=named: (
            None if named[id(row)] == len(row.steps) else named[id(row)]))
        keep = [any(one is row for one in agreed) for row in drawn["fixed n=16"]]
        for kind, spec in KINDS.items():
            rows = drawn["first-error 0.9" if kind == "first-error" else "fixed n=16"]
            labels[kind].append((setting.wrong_labels(rows, spec, [True] * len(rows)),
                                 setting.wrong_labels(rows, spec, keep), float(np.mean(keep))))
    base = np.mean([steps for steps, _ in found["fixed n=16"]])
    steps_labelled = sum(len(row.steps) for row in setting.rows)
    return {
        "solutions": len(setting.rows), "prefixes": len(setting.rates), "labelled_steps": steps_labelled,
        "ways": {rule: {"steps_written": float(np.mean([a for a, _ in runs])),
                        "relative_to_fixed_16": float(np.mean([a for a, _ in runs]) / base),
                        "steps_written_per_100000_labelled": float(
                            np.mean([a for a, _ in runs]) / steps_labelled * 100_000),
                        "first_error_accuracy": float(np.mean([b for _, b in runs])),
                        "accuracy_deviation_over_seeds": float(np.std([b for _, b in runs]))}
                 for rule, runs in found.items()},
        "wrong_labels": {kind: dict(zip(("all", "after_consensus", "rows_kept"),
                                        np.mean(runs, axis=0).tolist(), strict=True)) for kind, runs in labels.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--solutions", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    result = {"environment": environment(), "problems": given.problems, "solutions_per_problem": given.solutions,
              "seeds": given.seeds, "wandering": WANDERING,
              **{name: measure(name, given.problems, given.solutions, given.seeds) for name in WANDERING}}
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name in WANDERING:
        print(name)
        for rule, row in result[name]["ways"].items():
            print(f"  {rule:18} {row['relative_to_fixed_16']:7.1%} of the steps, accuracy "
                  f"{row['first_error_accuracy']:.3f}")
        for kind, row in result[name]["wrong_labels"].items():
            print(f"  {kind:18} wrong labels {row['all']:.3f}, after consensus {row['after_consensus']:.3f} "
                  f"({row['rows_kept']:.0%} of the rows)")


if __name__ == "__main__":
    main()
