"""What reward models are worth to a policy: RAFT, DPO and GRPO by their scores, right and wrong alone as the baseline.

    erprm study --out runs/study --only 'countdown/policy-[012]/soft/prm-0'      # policies and their labels
    python bench/policy.py --study runs/study --out runs/policy --output bench/results/policy.json

For each policy of the study a reward model of each target is trained on its labels, with the study's schedule, and the
policy is improved by each arm, with the commands that users call: `raft` and `dpo` on solutions to the labelling
problems, ranked by each reward model (in the aggregation that its validation problems choose) or by right and wrong
alone; `dpo` once more on the single steps of the last target; `grpo` paid by the outcome, by the outcome and that
target's model as a whole, and by both per step. Every arm has as many steps as the others of its command. Each policy
then solves the held-out problems, and is compared with the policy before and with what the same command made of right
and wrong alone, problem by problem (95 % bootstrap intervals over problems, all policies together). What is there
already is not done again.

The numbers of steps were chosen by time alone, before any policy was measured. `--split validation` measures on the
validation problems instead: that is where a learning rate may be chosen.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import common

from erprm.demo.commands import command
from erprm.demo.outcome import best_aggregations
from erprm.demo.recipe import Lab
from erprm.demo.settings import DemoSettings
from erprm.evaluation.pools import group_by_problem
from erprm.rows import read_rows
from erprm.statistics.bootstrap import bootstrap_interval, paired_test
from erprm.study.cells import Learnt


def arms(targets: list[str]) -> dict[str, tuple[str, str | None, dict[str, Any]]]:
    """By name of each arm its command, the target of its reward model, its options."""
    main = targets[-1]
    paid = {"mode": "softmin", "outcome_weight": 0.5, "normalise": True}
    return {
        **{f"{name} correct": (name, None, {"rank_by": "correct"}) for name in ("raft", "dpo")},
        **{f"{name} {target}": (name, target, {}) for name in ("raft", "dpo") for target in targets},
        f"dpo {main} steps": ("dpo", main, {"pairs": "steps"}),
        "grpo outcome": ("grpo", None, {"outcome_weight": 1}),
        f"grpo {main}": ("grpo", main, paid), f"grpo {main} per step": ("grpo", main, paid | {"dense": True})}


def reward_model(lab: Lab, folder: Path, target: str) -> tuple[Path, str]:
    """The model of a target, and the aggregation of its step scores that validation chooses."""
    model, scored = folder / f"prm-{target}", folder / f"validation-{target}.parquet"
    lab.trained(model, lab.rows, 0, **Learnt.of(target).options(()))()
    command("score", model=model, rows=lab.folder / "validation.parquet", out=scored)()
    aggregation, = best_aggregations(group_by_problem({target: list(read_rows(scored))})).values()
    return model, aggregation


def improve(lab: Lab, folder: Path, out: Path, arm: tuple[str, str | None, dict[str, Any]], given: argparse.Namespace,
            ) -> None:
    """Make a policy of the study's, in `out`."""
    name, target, options = arm
    asked = {"policy": lab.model("policy"), "out": out, "seed": given.seed, "learning_rate": getattr(given, name),
             "max_steps": getattr(given, f"{name}_steps"), **options}
    if name == "grpo":
        asked |= {"problems": lab.problems("label"), "n": 8, "max_tokens": lab.task.max_tokens}
    else:
        asked["solutions"] = sample(lab, "label", lab.model("policy"), given.pool, lab.settings.seed + 2,
                                    folder / "solutions.parquet")
    if target is not None:
        asked["prm"], aggregation = reward_model(lab, folder, target)
        asked |= {"aggregate": aggregation} if name != "grpo" and "pairs" not in options else {}
    command(name, **asked)()


def sample(lab: Lab, split: str, policy: Path, n: int, seed: int, out: Path) -> Path:
    """`n` solutions of a policy to each problem of a set, once."""
    if not out.is_file():
        command("sample", problems=lab.problems(split), policy=policy, n=n, max_tokens=lab.task.max_tokens, seed=seed,
                out=out)()
    return out


def accuracy(pool: Path) -> dict[str, float]:
    """Of each problem the share of right solutions."""
    outcomes: dict[str, list[float]] = {}
    for row in read_rows(pool):
        outcomes.setdefault(row.problem_key, []).append(float(row.outcome or 0.0))
    return {problem: float(np.mean(values)) for problem, values in outcomes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="folder of a study; only read")
    parser.add_argument("--out", type=Path, required=True, help="folder for models, policies and their solutions")
    parser.add_argument("--output", type=Path, help="result file")
    parser.add_argument("--task", default="countdown")
    parser.add_argument("--policies", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--targets", nargs="+", default=["outcome", "er@2"], help="of reward models; GRPO has the last")
    parser.add_argument("--arms", nargs="+", help="only these; by default all")
    parser.add_argument("--split", default="heldout", choices=("heldout", "validation"), help="problems measured on")
    parser.add_argument("--pool", type=int, default=DemoSettings().raft_samples, help="solutions to learn from, each")
    parser.add_argument("--samples", type=int, default=8, help="for each problem that is measured on")
    for name, steps, rate in (("raft", 150, 5e-4), ("dpo", 80, 5e-5), ("grpo", 80, 5e-5)):
        parser.add_argument(f"--{name}-steps", type=int, default=steps)
        parser.add_argument(f"--{name}-rate", dest=name, type=float, default=rate, help="its learning rate")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    before: list[dict[str, float]] = []
    found: dict[str, list[dict[str, float]]] = {"before": before}
    for seed in given.policies:
        lab, folder = common.study_lab(given.study, given.task, seed), given.out / given.task / str(seed)
        before.append(accuracy(lab.folder / f"{'pool' if given.split == 'heldout' else given.split}.parquet"))
        for name, arm in arms(given.targets).items():
            if given.arms is not None and name not in given.arms:
                continue
            policy = folder / f"{name.replace(' ', '-')}-{getattr(given, arm[0]):g}"
            started = time.monotonic()
            improve(lab, folder, policy, arm, given)
            pool = sample(lab, given.split, policy, given.samples, given.seed + 1,
                          policy.with_name(f"{policy.name}-{given.split}.parquet"))
            print(f"policy {seed}, {name}: {time.monotonic() - started:.0f} s", flush=True)
            found.setdefault(name, []).append(accuracy(pool))
    options = {name: value for name, value in vars(given).items() if name not in ("study", "out", "output", "arms")}
    result: dict[str, Any] = {"environment": common.environment(), **options, "arms": {},
                              "problems": sum(map(len, before))}
    values = {name: np.array([one[problem] for one, old in zip(parts, before, strict=True) for problem in old])
              for name, parts in found.items()}
    for name, ours in values.items():
        low, high = bootstrap_interval(ours, seed=given.seed)
        gain = paired_test(ours, values["before"], seed=given.seed)
        result["arms"][name] = {
            "accuracy": float(ours.mean()), "low": float(low), "high": float(high), "gain": dataclasses.asdict(gain),
            "by_policy": [float(np.mean(list(part.values()))) for part in found[name]]}
        alone = values.get("grpo outcome" if name.startswith("grpo") else f"{name.partition(' ')[0]} correct")
        if alone is not None and alone is not ours:
            result["arms"][name]["over_alone"] = dataclasses.asdict(paired_test(ours, alone, seed=given.seed))
        print(f"{name:20} pass@1 {100 * ours.mean():5.1f} %, gain {100 * gain.difference:+.1f} "
              f"[{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] over {len(ours)} problems")
    common.write_result(given.output, result)


if __name__ == "__main__":
    main()
