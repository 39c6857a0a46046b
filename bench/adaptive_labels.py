"""How many tokens adaptive labelling saves at equal error of V_eta, with a real policy.

    python bench/adaptive_labels.py --policy runs/demo/models/policy --problems runs/demo/problems/label.jsonl \\
        --out bench/results/adaptive_labels

Solutions are sampled, and from each of their distinct unfinished prefixes 512 completions (the truth) and 128 more.
From the 128, labelling runs are replayed many times over, in random order, with the rule that `erprm label` uses: fixed
n with every occurrence of a prefix sampled anew, fixed n with each distinct prefix sampled once, and adaptive runs of
many widths. The error is the root mean square over all steps of the solutions, against the truth. Written: OUT.json and
OUT.png.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.engines import Sampling, load_engine
from erprm.grading import GraderPool
from erprm.problems import load_problems
from erprm.rollouts.allocation import Adaptive
from erprm.rollouts.run import LabelOptions, label
from erprm.rollouts.sample import sample_solutions
from erprm.rollouts.store import read_parts
from erprm.rows import read_rows
from erprm.steps import prefix_text
from erprm.values import soft_value

TRUTH, SPARE = 512, 128
Array = npt.NDArray[Any]


def collect(given: argparse.Namespace) -> tuple[Array, Array, Array]:
    """(right bool [P, 640], tokens int [P, 640], occurrences int [P]) of P distinct prefixes. Resumable."""
    problems = load_problems(given.problems)[: given.problem_count]
    engine = load_engine("transformers", given.policy)
    sampling = Sampling(max_tokens=given.max_tokens)
    work = Path(f"{given.out}.work")
    with GraderPool() as grader:
        sample_solutions(problems, engine, sampling, work / "solutions.parquet", grader, n=given.solutions)
        rows = list(read_rows(work / "solutions.parquet"))
        label(problems, rows, engine, sampling, work / "labels", grader, LabelOptions(n=TRUTH + SPARE))
    occurrences: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        for length in range(1, len(row.steps) + (not row.finished)):
            occurrences[row.problem_id, prefix_text(row.steps, length)] += 1
    place = {key: number for number, key in enumerate(occurrences)}
    right = np.zeros((len(place), TRUTH + SPARE), bool)
    tokens = np.zeros((len(place), TRUTH + SPARE), np.int64)
    for table in read_parts(work / "labels", ["problem_id", "prefix", "sample", "right", "tokens"]):
        for record in table.to_pylist():
            number = place[record["problem_id"], record["prefix"]]
            right[number, record["sample"]] = record["right"]
            tokens[number, record["sample"]] = record["tokens"]
    return right, tokens, np.array(list(occurrences.values()))


def shuffled(right: Array, tokens: Array, chance: np.random.Generator) -> tuple[Array, Array]:
    """Running sums of successes and tokens, int [P, 129], over the spare completions in a new random order."""
    order = chance.permuted(np.tile(np.arange(TRUTH, TRUTH + SPARE), (len(right), 1)), axis=1)
    start = np.zeros((len(right), 1), np.int64)
    return tuple(np.concatenate([start, np.take_along_axis(source, order, 1).cumsum(1)], 1)  # type: ignore[return-value]
                 for source in (right.astype(np.int64), tokens))


def fixed(right: Array, tokens: Array, truth: Array, weights: Array, eta: float, n: int, dedupe: bool,
          chance: np.random.Generator) -> tuple[float, float]:
    """(tokens, mean square error) of one run with n completions per prefix."""
    repeat = np.arange(len(truth)) if dedupe else np.repeat(np.arange(len(truth)), weights)
    k, spent = shuffled(right[repeat], tokens[repeat], chance)
    error = (soft_value(k[:, n], np.full(len(repeat), n), eta) - truth[repeat]) ** 2
    return float(spent[:, n].sum()), float(np.average(error, weights=weights if dedupe else None))


def adaptive(right: Array, tokens: Array, truth: Array, weights: Array, rule: Adaptive, chance: np.random.Generator,
             ) -> tuple[float, float]:
    """(tokens, mean square error) of one adaptive run."""
    k, spent = shuffled(right, tokens, chance)
    every = np.arange(len(truth))
    n = np.full(len(truth), rule.n_min)
    while (unsure := ~rule.enough(k[every, n], n)).any():
        n[unsure] = np.minimum(n[unsure] + rule.step, rule.n_max)
    error = (soft_value(k[every, n], n, rule.eta) - truth) ** 2
    return float(spent[every, n].sum()), float(np.average(error, weights=weights))


def study(right: Array, tokens: Array, weights: Array, eta: float, repeats: int) -> dict[str, Any]:
    """Tokens and root mean square error of each way to label, and the adaptive run that equals fixed n = 16."""
    truth = soft_value(right[:, :TRUTH].sum(1), np.full(len(right), TRUTH), eta)
    chance = np.random.default_rng(0)

    def mean(run: Any, *arguments: Any) -> tuple[float, float]:
        results = np.array([run(right, tokens, truth, weights, *arguments, chance) for _ in range(repeats)])
        return float(results[:, 0].mean()), float(np.sqrt(results[:, 1].mean()))

    sizes = (4, 8, 12, 16, 24, 32)
    curves = {
        "fixed, no dedupe": [mean(fixed, eta, n, False) for n in sizes],
        "fixed, dedupe": [mean(fixed, eta, n, True) for n in sizes],
        "adaptive": [mean(adaptive, Adaptive(eta=eta, width=float(width), n_min=8, n_max=SPARE, step=4))
                     for width in np.geomspace(0.7, 0.1, 24)],
    }
    spent, error = curves["fixed, no dedupe"][sizes.index(16)]
    reach = sorted(curves["adaptive"], key=lambda point: point[1])
    needed = float(np.exp(np.interp(error, [point[1] for point in reach], np.log([point[0] for point in reach]))))
    return {"eta": eta, "prefixes": len(right), "occurrences": int(weights.sum()), "fixed_16_tokens": spent,
            "fixed_16_rmse": error, "adaptive_tokens_at_equal_rmse": needed, "share": needed / spent, "curves": curves}


def draw(result: dict[str, Any], path: Path) -> None:
    """Error over tokens, one line for each way to label."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    for name, points in result["curves"].items():
        points = sorted(points)
        axes.plot([point[0] for point in points], [point[1] for point in points], marker="o", markersize=3, label=name)
    axes.axhline(result["fixed_16_rmse"], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlabel="generated tokens", ylabel=f"RMSE of V (eta = {result['eta']:g})",
             title=f"equal error with {result['share']:.0%} of the tokens of fixed n = 16 without dedupe")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", required=True)
    parser.add_argument("--problems", required=True)
    parser.add_argument("--out", type=Path, default=Path("bench/results/adaptive_labels"))
    parser.add_argument("--problem-count", type=int, default=40)
    parser.add_argument("--solutions", type=int, default=4, help="per problem, as in the demo")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--eta", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=50)
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    result = study(*collect(given), given.eta, given.repeats)
    given.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(result, given.out.with_suffix(".png"))
    print(f"RMSE {result['fixed_16_rmse']:.4f}: fixed n = 16 without dedupe {result['fixed_16_tokens']:,.0f} tokens, "
          f"adaptive {result['adaptive_tokens_at_equal_rmse']:,.0f} ({result['share']:.0%})")
    print(given.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
