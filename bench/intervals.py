"""How sure a reward model says it is, against held-out counts: coverage of the intervals of a learnt concentration.

    erprm demo --out runs/demo --seeds 3
    python bench/intervals.py --demo runs/demo/seed-* --out runs/intervals --output bench/results/intervals.json

For each demo a reward model learns the Beta-binomial likelihood of its counts with a concentration for each step, and
scores held-out solutions that the demo's policy wrote, one a problem, each prefix completed anew. A 90 % interval of a
success rate p ~ Beta(mu kappa, (1 - mu) kappa) is held to the k successes of n trials that were seen: k lies inside
where the Beta-binomial distribution function, drawn uniformly between its values below k and at k (the randomised
probability integral transform: Czado, Gneiting and Held, Biometrics 2009), lies between 5 and 95 %. That share would be
90 % of a model that is right, whatever n is, and does not count what k/n is off the rate by. `plain` is the share of
k/n inside the interval's own ends, widened to the next k/n. Intervals of the shares: bootstrap over problems.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import betabinom

sys.path.insert(0, str(Path(__file__).parent))
import common

from erprm.demo.commands import command
from erprm.demo.recipe import Lab
from erprm.prm.scoring.scorer import PRMScorer, Scores
from erprm.rows import StepRow, read_rows, write_rows
from erprm.statistics.bootstrap import bootstrap_interval
from erprm.values import Array, beta_interval

LEVEL = 0.9


class Said(PRMScorer):
    """Scores as the head says them: mean and concentration of each step."""

    def in_columns(self, said: Scores) -> Scores:
        return said


def held_out(demo: Path, folder: Path, given: argparse.Namespace) -> list[StepRow]:
    """The first solution to each held-out problem, with counts behind each of its prefixes."""
    lab = Lab(demo, common.demo_settings(demo))
    solutions, labels = folder / "solutions.parquet", folder / "labels"
    if not solutions.is_file():
        first: dict[str, StepRow] = {}
        for row in read_rows(demo / "pool.parquet"):
            first.setdefault(row.problem_id, row)
        write_rows(solutions, list(first.values())[: given.problems])
    command("label", problems=lab.problems("heldout"), solutions=solutions, policy=lab.model("policy"),
            n=given.completions, seed=lab.settings.seed, max_tokens=lab.task.max_tokens, splitter="newline",
            out=labels)()
    return list(read_rows(labels / "rows.parquet"))


def inside(rows: list[StepRow], said: list[Scores], level: float, seed: int) -> dict[str, Array]:
    """[S] by name: whether each step's count lies inside (`transform`, `plain`), the interval's width, its problem."""
    mean, concentration = np.concatenate(said).astype(np.float64).T
    successes, trials = (np.concatenate([np.array(getattr(row, name)) for row in rows])
                         for name in ("successes", "trials"))
    low, high = beta_interval(mean, concentration, level)
    counts = betabinom(trials, np.maximum(mean * concentration, 1e-12), np.maximum((1 - mean) * concentration, 1e-12))
    below, at = counts.cdf(successes - 1), counts.cdf(successes)
    transform = below + np.random.default_rng(seed).random(len(at)) * (at - below)
    tail = (1 - level) / 2
    return {"transform": (transform > tail) & (transform < 1 - tail),
            "plain": (successes >= np.floor(low * trials)) & (successes <= np.ceil(high * trials)),
            "width": high - low, "problem": np.repeat(np.arange(len(rows)), [len(row.steps) for row in rows])}


def share(values: Array, problem: Array, seed: int) -> dict[str, float]:
    """A share of steps, with its interval over problems."""
    count = int(problem.max()) + 1
    sums, sizes = np.bincount(problem, values, count), np.bincount(problem, minlength=count)
    mean = float(sums.sum() / sizes.sum())
    low, high = bootstrap_interval(mean + (sums - mean * sizes) / sizes.mean(), seed=seed)
    return {"mean": mean, "low": float(low), "high": float(high)}


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, nargs="+", required=True, help="folders of finished demos; only read")
    parser.add_argument("--out", type=Path, required=True, help="folder for models and labels")
    parser.add_argument("--output", type=Path, help="result file")
    parser.add_argument("--completions", type=int, default=16, help="of each held-out prefix")
    parser.add_argument("--problems", type=int, help="only so many held-out problems; by default all")
    parser.add_argument("--steps", type=int, help="optimiser steps of a model; by default the demo's")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(words)
    found = []
    for number, demo in enumerate(given.demo):
        folder, settings = given.out / str(number), common.demo_settings(demo)
        folder.mkdir(parents=True, exist_ok=True)
        lab = Lab(demo, settings)
        lab.trained(folder / "prm", lab.rows, given.seed, loss="beta_binomial", concentration="learnt",
                    **({} if given.steps is None else {"max_steps": given.steps}))()
        rows = held_out(demo, folder, given)
        found.append(inside(rows, Said(folder / "prm", every=True).score(rows), LEVEL, given.seed))
    behind = np.cumsum([0, *(one["problem"].max() + 1 for one in found[:-1])])
    problem = np.concatenate([one["problem"] + first for one, first in zip(found, behind, strict=True)])
    asked = {name: value for name, value in vars(given).items() if name not in ("demo", "out", "output")}
    result: dict[str, Any] = {"environment": common.environment(), "demos": len(found), **asked, "level": LEVEL,
                              "problems": int(problem.max()) + 1, "steps_scored": len(problem)}
    for name in ("transform", "plain", "width"):
        result[name] = share(np.concatenate([one[name] for one in found]), problem, given.seed) | {
            "by_demo": [float(one[name].mean()) for one in found]}
        print(f"{name}: {result[name]['mean']:.3f} [{result[name]['low']:.3f}, {result[name]['high']:.3f}], by demo "
              + ", ".join(f"{value:.3f}" for value in result[name]["by_demo"]))
    common.write_result(given.output, result)


if __name__ == "__main__":
    main()
