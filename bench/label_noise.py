"""How much of a label is noise, by eta: two halves of the same completions against each other.

    erprm study --out runs/study --only 'countdown/*/soft/prm-0'
    python bench/label_noise.py --study runs/study --output bench/results/label_noise.json

Of each labelled prefix with n completions two labels are made, of n/2 completions each, drawn without replacement from
its k of n. Half of their mean squared difference is the noise of such a label; what is left of the labels' variance
over prefixes is signal. Its share, the reliability, is the most of the labels' variance that a perfect model of them
could explain. The intervals are over problems, of all policies together. Last steps, whose value is their outcome, are
left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np

from erprm.rows import read_rows
from erprm.statistics.bootstrap import RESAMPLES
from erprm.study.run import StudySettings
from erprm.values import Array
from erprm.values.priors import fit_rates
from erprm.values.targets import targets


def prefixes(rows: Path, n: int) -> dict[str, Any]:
    """Of each prefix with n completions, once: right ones, depth, problem."""
    found: dict[tuple[str, tuple[str, ...]], int] = {}
    for row in read_rows(rows):
        for end, (k, trials) in enumerate(zip(row.successes or (), row.trials or (), strict=True), start=1):
            if trials == n and not (row.finished and end == len(row.steps)):
                found[row.problem_key, row.steps[:end]] = k
    return {"right": np.array(list(found.values())), "depth": np.array([len(steps) for _, steps in found]),
            "problem": np.unique([problem for problem, _ in found], return_inverse=True)[1]}


def labels(right: Array, n: int, depths: Array, way: str, eta: float) -> Array:
    """[M] of one half."""
    if way in ("soft", "hard"):
        return targets(right, np.full(len(right), n), way)
    if way == "plug-in":
        return targets(right, np.full(len(right), n), "er", eta)
    trials = np.full(len(right), n)
    return targets(right, trials, "er", eta, way, prior=fit_rates(right, trials, depths), depths=depths)


def reliability(first: Array, second: Array, problem: Array) -> tuple[float, float, float]:
    """Of one half's label, with its interval over problems."""
    size = int(problem.max()) + 1
    sums = np.stack([np.bincount(problem, values, size) for values in (
        np.ones(len(first)), (first - second) ** 2 / 2, (first + second) / 2, (first**2 + second**2) / 2)])

    def of(weighed: Array) -> Array:
        count, noise, mean, square = weighed
        return 1.0 - (noise / count) / (square / count - (mean / count) ** 2)

    drawn = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), RESAMPLES)
    low, high = np.quantile(of(sums @ drawn.T), [0.025, 0.975])
    return float(of(sums.sum(axis=1))), float(low), float(high)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="folder of a study; only read")
    parser.add_argument("--output", type=Path, help="result file")
    parser.add_argument("--task", default="countdown")
    parser.add_argument("--etas", type=float, nargs="+", default=StudySettings().etas)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(words)
    folders = sorted((given.study / "work" / given.task).glob("policy-*"))
    n = common.demo_settings(folders[0]).completions
    parts = [prefixes(folder / "labels" / "rows.parquet", n) for folder in folders]
    right, depth = (np.concatenate([part[name] for part in parts]) for name in ("right", "depth"))
    before = np.cumsum([0, *(part["problem"].max() + 1 for part in parts[:-1])])
    problem = np.concatenate([part["problem"] + more for part, more in zip(parts, before, strict=True)])
    half = np.random.default_rng(given.seed).hypergeometric(right, n - right, n // 2)
    ways = [("soft", 0.0), ("hard", 0.0), *((way, eta) for way in ("plug-in", "empirical-bayes") for eta in given.etas)]
    found = []
    for way, eta in ways:
        first, second = (labels(part, n // 2, depth, way, eta) for part in (half, right - half))
        share, low, high = reliability(first, second, problem)
        noise = float(np.sqrt(np.mean((first - second) ** 2) / 2))
        found.append({"labels": way, "eta": eta or None, "reliability": share, "low": low, "high": high, "noise": noise,
                      "spread": float(np.sqrt((first.var() + second.var()) / 2))})
        print(f"{way:16} eta {eta:<4g} reliability {share:.3f} [{low:.3f}, {high:.3f}], noise {noise:.3f}")
    common.write_result(given.output, {
        "environment": common.environment(), "task": given.task, "policies": len(folders), "prefixes": len(right),
        "problems": int(problem.max()) + 1, "completions": n // 2, "dead": float(np.mean(right == 0)), "ways": found})


if __name__ == "__main__":
    main()
