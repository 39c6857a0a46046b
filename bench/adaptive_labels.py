"""How many tokens adaptive labelling saves at equal error of V_eta, with a real policy.

    sed -n 301,340p runs/demo/problems/label.jsonl > problems.jsonl
    erprm sample --problems problems.jsonl --policy runs/demo/models/policy --n 16 --max-tokens 56 --seed 7 \\
        --out solutions.parquet
    python bench/adaptive_labels.py --policy runs/demo/models/policy --problems problems.jsonl \\
        --solutions solutions.parquet --pool runs/adaptive-pool --output bench/results/adaptive_labels

512 completions of each distinct unfinished prefix are sampled once, into the store --pool. Then labelling runs are
replayed with many seeds (bench/label_replay.py). The ways to label: n for every occurrence of a prefix (what is done
without a trie), n for each distinct prefix, the same with completions counted where they pass, and the rule of `erprm
label --rmse` with its defaults: sampled completions alone (--no-count-passing), what passes too, and the solutions' own
outcomes beside it (--count-own-outcome); each with k/n (plug-in) and with the posterior mean under the fitted rates.
The error is the root mean square over all unfinished steps; errors of one way and target are averaged over the seeds
before the root, and those that all others are compared with, k/n of n without a trie, are computed exactly. Everything
is done for all solutions and for the first four of each problem. Written: OUTPUT.json and FIGURE.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import common
import numpy as np
from label_replay import BASE, SIZES, TARGETS, Array, Pool, Setting

from erprm.files.progress import progress
from erprm.rollouts.accuracy import Accurate

HEADLINE = "adaptive, posterior mean"
SHOWN = (BASE, "fixed n, dedupe, plug-in", "adaptive, sampled alone, posterior mean", "adaptive, plug-in", HEADLINE,
         "adaptive, own outcomes, posterior mean")


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


def study(setting: Setting, each: int, seeds: int) -> dict[str, Any]:
    """Everything that is written of one setting."""
    with progress(f"{each} solutions a problem", seeds, "runs") as bar:
        found = []
        for seed in range(seeds):
            found.append(setting.replay(seed))
            bar.advance(1)
    runs = {name: np.stack([one[name] for one in found]) for name in found[0]}
    by_seed = [shares({name: way[[seed]] for name, way in runs.items()}, setting.steps) for seed in range(seeds)]
    chance = np.random.default_rng(0)
    by_problems = []
    for _ in range(1000):
        some = chance.integers(0, setting.problems, setting.problems)
        size = int(np.bincount(setting.problem, setting.uses, setting.problems)[some].sum())
        by_problems.append(shares({name: way[:, :, some] for name, way in runs.items()}, size))

    def spread(samples: list[dict[str, float]], name: str) -> dict[str, Any]:
        values = np.array([sample[name] for sample in samples])
        values = values[np.isfinite(values)]
        low, middle, high = np.quantile(values, (0.025, 0.5, 0.975)) if len(values) else (np.nan,) * 3
        return {"2.5%": float(low), "50%": float(middle), "97.5%": float(high), "reached": len(values) / len(samples)}

    spent, error = curve(runs[BASE], setting.steps)[SIZES.index(16)]
    never = setting.right.mean(1) == 0
    return {
        "solutions_each": each, "eta": setting.eta, "seeds": seeds, "problems": setting.problems,
        "prefixes": len(never), "steps": setting.steps, "prefixes_never_right": int(never.sum()),
        "never_right_by_depth": {str(depth): float(never[setting.depth == depth].mean())
                                 for depth in np.unique(setting.depth).tolist()},
        "fixed_16_tokens": spent, "fixed_16_rmse": error,
        "share_of_tokens_at_equal_rmse": shares(runs, setting.steps),
        "spread_over_seeds": {name: spread(by_seed, name) for name in runs},
        "bootstrap_over_problems": {name: spread(by_problems, name) for name in runs},
        "sizes": SIZES, "targets": TARGETS,
        "curves": {name: curve(way, setting.steps).tolist() for name, way in runs.items()},
        "rmse_quantiles_over_seeds": {
            name: np.quantile(np.sqrt(way[..., 1].sum(2) / setting.steps), (0.1, 0.9), axis=0).tolist()
            for name, way in runs.items()},
    }


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Error over tokens, one line for each way to label, bands between the 10th and 90th percentile of the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(results), figsize=(6.2 * len(results), 4.6), layout="constrained",
                                     squeeze=False)
    for axes, result in zip(panels[0], results, strict=True):
        for name in SHOWN:
            tokens, error = np.array(result["curves"][name]).T
            line, = axes.plot(tokens, error, marker="o", markersize=3, label=name)
            low, high = result["rmse_quantiles_over_seeds"][name]
            axes.fill_between(tokens, low, high, alpha=0.12, color=line.get_color(), linewidth=0)
        axes.axhline(result["fixed_16_rmse"], color="grey", linewidth=0.8, linestyle=":")
        share = result["share_of_tokens_at_equal_rmse"][HEADLINE]
        axes.set(xscale="log", xlabel="generated tokens", ylabel=f"RMSE of V (eta = {result['eta']:g})",
                 title=f"{result['solutions_each']} solutions a problem: at the error of fixed n = 16\n"
                       f"without dedupe, adaptive needs {share:.0%} of its tokens")
        axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", required=True)
    parser.add_argument("--problems", required=True)
    parser.add_argument("--solutions", required=True, help="the policy's solutions to all of these problems")
    parser.add_argument("--pool", required=True, help="the store with 512 completions a prefix; filled if it is not")
    parser.add_argument("--output", type=Path, default=Path("bench/results/adaptive_labels"))
    parser.add_argument("--figure", type=Path, default=Path("docs/adaptive_labels.png"))
    parser.add_argument("--each", type=int, nargs="+", default=[16, 4], help="solutions per problem")
    parser.add_argument("--max-tokens", type=int, default=56)
    parser.add_argument("--eta", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, default=30)
    given = parser.parse_args()
    pool = Pool(given)
    rule = Accurate()
    results = [study(Setting(pool, each, given.eta), each, given.seeds) for each in given.each]
    path = given.output.with_suffix(".json")
    common.save(path, {
        "environment": common.environment(),
        "rule": {"n_min": rule.n_min, "n_max": rule.n_max, "step": rule.step, "share": rule.share},
        "settings": results})
    draw(results, given.figure)
    for result in results:
        print(f"{result['solutions_each']} solutions a problem:")
        for name, share in result["share_of_tokens_at_equal_rmse"].items():
            print(f"  {name:40} {share:.1%} of the tokens of fixed n = 16 without dedupe, at its RMSE")
    print(f"{path}, {given.figure}")


if __name__ == "__main__":
    main()
