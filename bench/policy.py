"""What reward models are worth to a policy: RAFT and GRPO by their models, outcome alone as the baseline, seeds paired.

    erprm demo --out runs/demo --seeds 3
    python bench/policy.py --demo runs/demo/seed-* --out runs/policy --output bench/results/policy.json

For each demo its policy is improved by each arm, with the commands that users call: `raft` on the demo's labelling
problems, chosen by each target's model or by right and wrong alone; `grpo` paid by the outcome, by the outcome and the
main model as a whole, and by both per step. Every arm has the same number of samples and steps as the others of its
command. Each policy then solves the held-out problems, and is compared with the one before on the same problems (95 %
bootstrap intervals over problems, all demos together). What is there already is not done again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import common

from erprm import cli
from erprm.demo.settings import DemoSettings
from erprm.problems.tasks import task
from erprm.rows import read_rows
from erprm.statistics.bootstrap import bootstrap_interval, paired_test
from erprm.values import Array

BOTH = ["--mode", "softmin", "--outcome-weight", "0.5", "--normalise"]


def arms(demo: Path, targets: list[str]) -> dict[str, list[str]]:
    """The command and options of each arm by name."""
    def prm(target: str) -> list[str]:
        return ["--prm", str(demo / "models" / f"prm-{target}")]

    main = DemoSettings().main
    return {
        "raft correct": ["raft", "--rank-by", "correct"],
        **{f"raft {target}": ["raft", "--aggregate", "last", *prm(target)] for target in targets},
        "grpo outcome": ["grpo", "--outcome-weight", "1"],
        "grpo whole": ["grpo", *BOTH, *prm(main)],
        "grpo per step": ["grpo", *BOTH, "--dense", *prm(main)],
    }


def improve(demo: Path, folder: Path, arm: list[str], given: argparse.Namespace) -> Path:
    """The policy that an arm makes of the demo's."""
    settings = DemoSettings()
    size = ["--max-tokens", str(task(settings.task).max_tokens)]
    asked = [*arm, "--policy", str(demo / "models" / "policy"), "--problems", str(demo / "problems" / "label.jsonl"),
             "--out", str(folder), "--seed", str(given.seed), "--limit", str(given.problems), *size]
    if arm[0] == "raft":
        cli.run("raft", [*asked[1:], "--iterations", str(given.iterations), "--n", str(settings.raft_samples),
                         "--max-steps", str(given.raft_steps), "--learning-rate", "5e-4"])
        return folder / f"iteration-{given.iterations}" / "policy"
    cli.run("grpo", [*asked[1:], "--max-steps", str(given.grpo_steps), "--n", "8", "--learning-rate", "5e-5"])
    return folder


def accuracy(demo: Path, policy: Path, pool: Path, given: argparse.Namespace) -> Array:
    """[P]: of each held-out problem the share of right samples."""
    settings = DemoSettings()
    if not pool.is_file():
        cli.run("sample", ["--problems", str(demo / "problems" / "heldout.jsonl"), "--policy", str(policy), "--n",
                           str(given.samples), "--max-tokens", str(task(settings.task).max_tokens), "--seed",
                           str(given.seed + 1), "--limit", str(given.heldout), "--out", str(pool)])
    outcomes: dict[str, list[float]] = {}
    for row in read_rows(pool):
        outcomes.setdefault(row.problem_key, []).append(float(row.outcome or 0.0))
    return np.array([np.mean(values) for values in outcomes.values()])


def main() -> None:
    settings = DemoSettings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, nargs="+", required=True, help="folders of finished demos")
    parser.add_argument("--out", type=Path, required=True, help="folder for policies and their solutions")
    parser.add_argument("--output", type=Path, help="result file")
    parser.add_argument("--targets", nargs="+", default=[target.name for target in settings.targets])
    parser.add_argument("--problems", type=int, default=settings.label_problems, help="sampled from, by every arm")
    parser.add_argument("--heldout", type=int, default=settings.heldout_problems)
    parser.add_argument("--samples", type=int, default=16, help="for each held-out problem")
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--raft-steps", type=int, default=settings.raft_steps, help="of each iteration")
    parser.add_argument("--grpo-steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    by_arm: dict[str, list[Array]] = {}
    for number, demo in enumerate(given.demo):
        folder = given.out / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        policies = {"before": demo / "models" / "policy"} | {
            name: improve(demo, folder / name.replace(" ", "-"), arm, given)
            for name, arm in arms(demo, given.targets).items()}
        for name, policy in policies.items():
            by_arm.setdefault(name, []).append(
                accuracy(demo, policy, folder / f"pool-{name.replace(' ', '-')}.parquet", given))
    options = {name: value for name, value in vars(given).items() if name not in ("demo", "out", "output")}
    result: dict[str, Any] = {"environment": common.environment(), "demos": len(given.demo), **options, "arms": {}}
    before = np.concatenate(by_arm["before"])
    for name, parts in by_arm.items():
        found = np.concatenate(parts)
        low, high = bootstrap_interval(found, seed=given.seed)
        gain = paired_test(found, before, seed=given.seed)
        result["arms"][name] = {
            "accuracy": float(found.mean()), "low": float(low), "high": float(high), "problems": len(found),
            "by_demo": [float(part.mean()) for part in parts],
            "gain": {"difference": gain.difference, "low": gain.low, "high": gain.high, "p": gain.p}}
        print(f"{name:14} pass@1 {100 * found.mean():5.1f} %, gain {100 * gain.difference:+.1f} "
              f"[{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] over {len(found)} problems")
    common.write_result(given.output, result)


if __name__ == "__main__":
    main()
