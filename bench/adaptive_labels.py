"""How many tokens adaptive labelling saves at equal error of V_eta, with a real policy.

    sed -n 301,340p runs/demo/problems/label.jsonl > problems.jsonl
    erprm sample --problems problems.jsonl --policy runs/demo/models/policy --n 16 --max-tokens 56 --seed 7 \\
        --out solutions.parquet
    python bench/adaptive_labels.py --policy runs/demo/models/policy --problems problems.jsonl \\
        --solutions solutions.parquet --pool runs/adaptive-pool --output bench/results/adaptive_labels

512 completions of each distinct unfinished prefix are sampled once, into the store --pool. Then labelling runs are
replayed with many seeds: completions are drawn from the 512 with replacement, so that the values over all 512 are the
truth that a run is to find, exactly. The ways to label: n for every occurrence of a prefix (what is done without a
trie), n for each distinct prefix, and the rule of `erprm label --rmse` with its defaults, without and with the
solutions' own outcomes counted as samples; each with k/n (plug-in) and with the posterior mean under the fitted rates.
The error is the root mean square over all unfinished steps; errors of one way and target are averaged over the seeds
before the root. Everything is done for all solutions and for the first four of each problem. Written: OUTPUT.json and
FIGURE.
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
from erprm.progress import progress
from erprm.rollouts.accuracy import Accurate
from erprm.rollouts.allocation import Tally
from erprm.rollouts.run import LabelOptions, label
from erprm.rollouts.store import read_parts
from erprm.rows import read_rows
from erprm.steps import prefix_text
from erprm.values import fit_rates, soft_of_mean

DRAWN = 512
SIZES = (4, 6, 8, 12, 16, 24, 32)
TARGETS = tuple(float(target) for target in np.geomspace(0.15, 0.03, 15))
BASE = "fixed n, no dedupe, plug-in"
HEADLINE = "adaptive, posterior mean"
Array = npt.NDArray[Any]


class Pool:
    """Graded completions of P prefixes, and the solutions that have them.

    right bool and tokens int [P, 512]; problem, depth [P]; solutions: (prefixes, outcome, number within its problem).
    """

    def __init__(self, given: argparse.Namespace) -> None:
        problems = load_problems(given.problems)
        rows = list(read_rows(given.solutions))
        engine = load_engine("transformers", given.policy)
        with GraderPool() as grader:
            print(label(problems, rows, engine, Sampling(max_tokens=given.max_tokens), given.pool, grader,
                        LabelOptions(n=DRAWN)))
        number = {problem.id: index for index, problem in enumerate(problems)}
        ended = {(row.problem_id, prefix_text(row.steps, len(row.steps))) for row in rows if row.finished}
        place: dict[tuple[str, str], int] = {}
        depths: list[int] = []
        seen: dict[str, int] = {}
        self.solutions: list[tuple[list[int], int, int]] = []
        for row in rows:
            keys = [(row.problem_id, prefix_text(row.steps, length)) for length in range(1, len(row.steps) + 1)]
            keys = [key for key in keys if key not in ended]
            for length, key in enumerate(keys, start=1):
                if key not in place:
                    place[key] = len(place)
                    depths.append(length)
            seen[row.problem_id] = seen.get(row.problem_id, -1) + 1
            self.solutions.append(([place[key] for key in keys], int(row.outcome == 1), seen[row.problem_id]))
        self.problem = np.array([number[problem] for problem, _ in place])
        self.depth = np.array(depths, np.int32)
        self.right = np.zeros((len(place), DRAWN), bool)
        self.tokens = np.zeros((len(place), DRAWN), np.int64)
        for table in read_parts(given.pool, ["problem_id", "prefix", "sample", "right", "tokens"]):
            for record in table.to_pylist():
                spot = place[record["problem_id"], record["prefix"]], record["sample"]
                self.right[spot], self.tokens[spot] = record["right"], record["tokens"]


class Setting:
    """The prefixes that the first `each` solutions of each problem have, [P] each: `uses`, steps that need a prefix's
    value, and `own`, successes among the outcomes of its solutions."""

    def __init__(self, pool: Pool, each: int, eta: float) -> None:
        uses, own = np.zeros(len(pool.right), np.int64), np.zeros(len(pool.right), np.int64)
        for prefixes, outcome, number in pool.solutions:
            if number < each:
                uses[prefixes] += 1
                own[prefixes] += outcome
        kept = uses > 0
        self.uses, self.own = uses[kept], own[kept]
        self.problem, self.depth = pool.problem[kept], pool.depth[kept]
        self.right, self.tokens = pool.right[kept], pool.tokens[kept]
        self.eta, self.truth = eta, soft_of_mean(self.right.mean(1), eta)
        self.problems, self.steps = int(self.problem.max()) + 1, int(self.uses.sum())

    def errors(self, k: Array, n: Array, at: Array) -> dict[str, Array]:
        """Square errors of V_eta at prefixes `at` from counts, for each estimator."""
        depth = self.depth[at]
        return {"plug-in": (soft_of_mean(k / n, self.eta) - self.truth[at]) ** 2,
                "posterior mean": (fit_rates(k, n, depth).soft_value(k, n, depth, self.eta) - self.truth[at]) ** 2}

    def summed(self, at: Array, spent: Array, squares: Array) -> Array:
        """(tokens, square errors) of each problem, [problems, 2]."""
        owner = self.problem[at]
        return np.stack([np.bincount(owner, spent, self.problems), np.bincount(owner, squares, self.problems)], axis=1)

    def replay(self, seed: int) -> dict[str, Array]:
        """Per way to label: (tokens, square errors), [sizes or targets, problems, 2]."""
        chance = np.random.default_rng(seed)
        every = np.arange(len(self.truth))
        result: dict[str, Array] = {}
        for way, at in (("fixed n, no dedupe", np.repeat(every, self.uses)), ("fixed n, dedupe", every)):
            k, spent = self.drawn(at, max(SIZES), chance)
            weight = np.ones(len(at)) if way == "fixed n, no dedupe" else self.uses
            points: dict[str, list[Array]] = {}
            for n in SIZES:
                for name, squares in self.errors(k[:, n], np.full(len(at), n), at).items():
                    points.setdefault(f"{way}, {name}", []).append(self.summed(at, spent[:, n], weight * squares))
            result |= {name: np.stack(found) for name, found in points.items()}
        result |= self.adaptive("adaptive", chance, np.zeros_like(self.own), np.zeros_like(self.uses))
        return result | self.adaptive("adaptive, own outcomes", chance, self.own, self.uses)

    def drawn(self, at: Array, most: int, chance: np.random.Generator) -> tuple[Array, Array]:
        """Running sums of successes and tokens of draws at prefixes `at`, [len(at), most + 1] each."""
        which = chance.integers(0, DRAWN, (len(at), most))
        zero = np.zeros((len(at), 1), np.int64)
        return (np.concatenate([zero, self.right[at[:, None], which].cumsum(1)], 1),
                np.concatenate([zero, self.tokens[at[:, None], which].cumsum(1)], 1))

    def adaptive(self, way: str, chance: np.random.Generator, own: Array, owners: Array) -> dict[str, Array]:
        """The rule, followed to the smallest target; what it had when it reached each target."""
        every = np.arange(len(self.truth))
        rule = Accurate(eta=self.eta, rmse=TARGETS[-1])
        k, spent = self.drawn(every, rule.n_max, chance)
        n = np.full(len(every), rule.n_min, np.int32)
        points: dict[str, list[Array]] = {}
        reached = 0
        while reached < len(TARGETS):
            used = spent[every, n]
            successes, trials = (k[every, n] + own).astype(np.int32), (n + owners).astype(np.int32)
            cost = (used + used.sum() / n.sum()) / (n + 1.0)
            tally = Tally(successes, trials, n, cost, self.depth, self.uses)
            wanted, expected = rule.wanted(tally), rule.expected_rmse(tally)
            ended = bool((wanted == n).all())
            while reached < len(TARGETS) and (ended or expected <= TARGETS[reached]):
                reached += 1
                for name, squares in self.errors(successes, trials, every).items():
                    points.setdefault(f"{way}, {name}", []).append(self.summed(every, used, self.uses * squares))
            n = wanted
        return {name: np.stack(found) for name, found in points.items()}


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
        for name, points in result["curves"].items():
            if name.endswith("dedupe, posterior mean"):
                continue
            tokens, error = np.array(points).T
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
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "rule": {"n_min": rule.n_min, "n_max": rule.n_max, "step": rule.step, "share": rule.share},
        "settings": results}, indent=1) + "\n", encoding="utf-8")
    draw(results, given.figure)
    for result in results:
        print(f"{result['solutions_each']} solutions a problem:")
        for name, share in result["share_of_tokens_at_equal_rmse"].items():
            print(f"  {name:40} {share:.1%} of the tokens of fixed n = 16 without dedupe, at its RMSE")
    print(f"{path}, {given.figure}")


if __name__ == "__main__":
    main()
