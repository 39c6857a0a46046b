"""How many tokens adaptive labelling saves at equal error of V_eta, with a real policy.

    python bench/adaptive_labels.py --policy runs/demo/models/policy --problems runs/demo/problems/label.jsonl \\
        --solutions runs/demo/solutions.parquet --pool runs/adaptive-pool --out bench/results/adaptive_labels

640 completions of each distinct unfinished prefix are sampled once, into the store --pool. Then labelling runs are
replayed with many seeds. A seed shuffles each prefix's completions: 512 are the truth, the other 128, which the truth
has not seen, are what a run may draw, without replacement. The ways to label: n for every occurrence of a prefix, n for
each distinct prefix, and the rule of `erprm label --rmse` with its defaults; each with k/n (plug-in) and with the
posterior mean under the fitted Beta prior. The error is the root mean square over all steps, against the truth; errors
of one way and target are averaged over the seeds before the root. Written: OUT.json and FIGURE.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.engines import Sampling, load_engine
from erprm.grading import GraderPool
from erprm.problems import load_problems
from erprm.rollouts.accuracy import Accurate
from erprm.rollouts.run import LabelOptions, label
from erprm.rollouts.store import read_parts
from erprm.rows import read_rows
from erprm.steps import prefix_text
from erprm.values import fit_prior, soft_value

TRUTH, SPARE = 512, 128
SIZES = (4, 6, 8, 12, 16, 24, 32)
TARGETS = tuple(float(target) for target in np.geomspace(0.15, 0.02, 18))
BASE = "fixed n, no dedupe, plug-in"
Array = npt.NDArray[Any]


class Pool:
    """Graded completions: right bool [P, 640], tokens int [P, 640], occurrences int [P], problem int [P]."""

    def __init__(self, given: argparse.Namespace) -> None:
        problems = load_problems(given.problems)
        chosen = {problem.id: number for number, problem in
                  enumerate(problems[given.first: given.first + given.problem_count])}
        rows = [row for row in read_rows(given.solutions) if row.problem_id in chosen
                and int(row.solution_id.rpartition("/")[2]) < given.solutions_each]
        engine = load_engine("transformers", given.policy)
        with GraderPool() as grader:
            print(label(problems, rows, engine, Sampling(max_tokens=given.max_tokens), given.pool, grader,
                        LabelOptions(n=TRUTH + SPARE)))
        occurrences: dict[tuple[str, str], int] = {}
        for row in rows:
            for length in range(1, len(row.steps) + (not row.finished)):
                key = row.problem_id, prefix_text(row.steps, length)
                occurrences[key] = occurrences.get(key, 0) + 1
        place = {key: number for number, key in enumerate(occurrences)}
        self.occurrences = np.array(list(occurrences.values()))
        self.problem = np.array([chosen[problem] for problem, _ in occurrences])
        self.right = np.zeros((len(place), TRUTH + SPARE), bool)
        self.tokens = np.zeros((len(place), TRUTH + SPARE), np.int64)
        for table in read_parts(given.pool, ["problem_id", "prefix", "sample", "right", "tokens"]):
            for record in table.to_pylist():
                spot = place[record["problem_id"], record["prefix"]], record["sample"]
                self.right[spot], self.tokens[spot] = record["right"], record["tokens"]


def estimates(k: Array, n: Array, eta: float, name: str) -> Array:
    """V_eta from counts [P]; "beta" with the prior fitted to these counts."""
    prior = fit_prior(k, n) if name == "beta" else (0.5, 0.5)
    return soft_value(k, n, eta, name, prior)


def replay(pool: Pool, eta: float, seed: int) -> dict[str, Array]:
    """Per way to label: (tokens, sum of square errors over steps), [settings, problems, 2]."""
    chance = np.random.default_rng(seed)
    order = chance.permuted(np.tile(np.arange(TRUTH + SPARE), (len(pool.right), 1)), axis=1)
    right, tokens = np.take_along_axis(pool.right, order, 1), np.take_along_axis(pool.tokens, order, 1)
    truth = soft_value(right[:, :TRUTH].sum(1), np.full(len(right), TRUTH), eta)
    count = pool.problem.max() + 1

    def summed(prefix: Array, spent: Array, squares: Array) -> Array:
        owner = pool.problem[prefix]
        return np.stack([np.bincount(owner, spent, count), np.bincount(owner, squares, count)], axis=1)

    def drawn(prefix: Array) -> tuple[Array, Array]:
        """Running sums of successes and tokens [len(prefix), 129], each occurrence in an order of its own."""
        own = chance.permuted(np.tile(np.arange(TRUTH, TRUTH + SPARE), (len(prefix), 1)), axis=1)
        start = np.zeros((len(prefix), 1), np.int64)
        return (np.concatenate([start, right[prefix[:, None], own].cumsum(1)], 1),
                np.concatenate([start, tokens[prefix[:, None], own].cumsum(1)], 1))

    result = {}
    every = np.arange(len(truth))
    for dedupe, prefix in (("no dedupe", np.repeat(every, pool.occurrences)), ("dedupe", every)):
        k, spent = drawn(prefix)
        weight = np.ones(len(prefix)) if dedupe == "no dedupe" else pool.occurrences
        for name in ("plug-in", "beta"):
            result[f"fixed n, {dedupe}, {name}"] = np.stack([summed(prefix, spent[:, n], weight * (
                estimates(k[:, n], np.full(len(prefix), n), eta, name) - truth[prefix]) ** 2) for n in SIZES])
    k, spent = drawn(every)
    # The runs of a seed share their way and differ in where they stop: one is followed to the smallest target.
    rule = Accurate(eta=eta, rmse=TARGETS[-1], n_max=SPARE)
    n = np.zeros(len(truth), np.int32)
    adaptive: dict[str, list[Array]] = {"plug-in": [], "beta": []}
    more = True
    while more:
        used = spent[every, n]
        cost = (used + max(1.0, used.sum() / max(1, n.sum()))) / (n + 1.0)
        wanted = rule.wanted(k[every, n].astype(np.int32), n, cost)
        more = bool((wanted > n).any())
        n = wanted
        reached = rule.expected_rmse(k[every, n].astype(np.int32), n)
        while len(adaptive["beta"]) < len(TARGETS) and (reached <= TARGETS[len(adaptive["beta"])] or not more):
            for name, points in adaptive.items():
                points.append(summed(every, spent[every, n], pool.occurrences * (
                    estimates(k[every, n], n, eta, name) - truth) ** 2))
    return result | {f"adaptive, dedupe, {name}": np.stack(points) for name, points in adaptive.items()}


def curve(runs: Array, steps: int) -> Array:
    """(tokens, RMSE) [settings, 2] of runs [seeds, settings, problems, 2]."""
    total = runs.mean(0).sum(1)
    return np.stack([total[:, 0], np.sqrt(total[:, 1] / steps)], axis=1)


def tokens_at(points: Array, error: float) -> float:
    """Tokens at which a curve has this error, interpolated in logarithms; NaN where it does not reach it."""
    points = points[np.argsort(points[:, 1])]
    logs = np.log(points)
    return float(np.exp(np.interp(np.log(error), logs[:, 1], logs[:, 0], left=np.nan, right=np.nan)))


def shares(runs: dict[str, Array], steps: int) -> dict[str, float]:
    """Tokens of each way over those of fixed n = 16 without dedupe, at the error of that run."""
    spent, error = curve(runs[BASE], steps)[SIZES.index(16)]
    return {name: tokens_at(curve(way, steps), error) / spent for name, way in runs.items()}


def study(pool: Pool, eta: float, seeds: int) -> dict[str, Any]:
    """Everything that is written to OUT.json."""
    found = [replay(pool, eta, seed) for seed in range(seeds)]
    runs = {name: np.stack([one[name] for one in found]) for name in found[0]}
    steps = int(pool.occurrences.sum())
    by_seed = [shares({name: way[[seed]] for name, way in runs.items()}, steps) for seed in range(seeds)]
    chance = np.random.default_rng(0)
    count = pool.problem.max() + 1
    by_problems = []
    for _ in range(1000):
        some = chance.integers(0, count, count)
        size = int(np.bincount(pool.problem, pool.occurrences, count)[some].sum())
        by_problems.append(shares({name: way[:, :, some] for name, way in runs.items()}, size))

    def spread(samples: list[dict[str, float]], name: str) -> dict[str, Any]:
        values = np.array([sample[name] for sample in samples])
        values = values[np.isfinite(values)]
        low, middle, high = np.quantile(values, (0.05, 0.5, 0.95)) if len(values) else (np.nan,) * 3
        return {"5%": float(low), "50%": float(middle), "95%": float(high), "reached": len(values) / len(samples)}

    spent, error = curve(runs[BASE], steps)[SIZES.index(16)]
    success = pool.right.mean(1)
    overall = shares(runs, steps)
    return {
        "eta": eta, "seeds": seeds, "problems": int(count), "prefixes": len(success), "steps": steps,
        "prefixes_never_right": int((success == 0).sum()), "fixed_16_tokens": spent, "fixed_16_rmse": error,
        "rule": {"n_min": Accurate().n_min, "n_max": SPARE, "step": Accurate().step, "share": Accurate().share},
        "share_of_tokens_at_equal_rmse": overall,
        "spread_over_seeds": {name: spread(by_seed, name) for name in runs},
        "bootstrap_over_problems": {name: spread(by_problems, name) for name in runs},
        "sizes": SIZES, "targets": TARGETS,
        "curves": {name: curve(way, steps).tolist() for name, way in runs.items()},
        "rmse_quantiles_over_seeds": {
            name: np.quantile(np.sqrt(way[..., 1].sum(2) / steps), (0.1, 0.9), axis=0).tolist()
            for name, way in runs.items()},
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Error over tokens, one line for each way to label, bands between the 10th and 90th percentile of the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.2, 4.6), layout="constrained")
    for name, points in result["curves"].items():
        tokens, error = np.array(points).T
        line, = axes.plot(tokens, error, marker="o", markersize=3, label=name)
        low, high = result["rmse_quantiles_over_seeds"][name]
        axes.fill_between(tokens, low, high, alpha=0.12, color=line.get_color(), linewidth=0)
    axes.axhline(result["fixed_16_rmse"], color="grey", linewidth=0.8, linestyle=":")
    share = result["share_of_tokens_at_equal_rmse"]["adaptive, dedupe, beta"]
    axes.set(xscale="log", xlabel="generated tokens", ylabel=f"RMSE of V (eta = {result['eta']:g})",
             title=f"error of fixed n = 16 without dedupe: adaptive needs {share:.0%} of its tokens")
    axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", required=True)
    parser.add_argument("--problems", required=True)
    parser.add_argument("--solutions", required=True)
    parser.add_argument("--pool", required=True, help="the store with 640 completions a prefix; filled if it is not")
    parser.add_argument("--out", type=Path, default=Path("bench/results/adaptive_labels"))
    parser.add_argument("--figure", type=Path, default=Path("docs/adaptive_labels.png"))
    parser.add_argument("--first", type=int, default=300, help="number of the first problem")
    parser.add_argument("--problem-count", type=int, default=32)
    parser.add_argument("--solutions-each", type=int, default=2, help="per problem; the demo labels 4")
    parser.add_argument("--max-tokens", type=int, default=56)
    parser.add_argument("--eta", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, default=30)
    given = parser.parse_args()
    result = study(Pool(given), given.eta, given.seeds)
    path = given.out.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(result, given.figure)
    for name, share in result["share_of_tokens_at_equal_rmse"].items():
        print(f"{name:32} {share:.1%} of the tokens of fixed n = 16 without dedupe, at its RMSE")
    print(f"{path}, {given.figure}")


if __name__ == "__main__":
    main()
