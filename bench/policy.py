"""What reward models are worth to a policy: RAFT and GRPO by their models, outcome alone as the baseline, seeds paired.

    erprm demo --out runs/demo --seeds 3
    python bench/policy.py --demo runs/demo/seed-* --out runs/policy --output bench/results/policy.json

For each demo its policy is improved by each arm, with the commands that users call: `raft` on the solutions to the
labelling problems that the demo sampled, chosen by each target's model (in the aggregation that its validation
problems chose) or by right and wrong alone; `grpo` paid by the outcome, by the outcome and the main model as a whole,
and by both per step. Every arm has as many steps as the others of its command. Each policy then solves the held-out
problems, and is compared with the demo's pool of the policy before, problem by problem (95 % bootstrap intervals over
problems, all demos together). What is there already is not done again.

The numbers of steps were chosen by time alone, before any policy was measured: the demo's own for RAFT, and as many for
GRPO as let all nine arms of one demo end within twelve minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import common

from erprm import cli
from erprm.demo.outcome import aggregations
from erprm.demo.settings import DemoSettings
from erprm.problems.tasks import task
from erprm.rows import read_rows
from erprm.statistics.bootstrap import bootstrap_interval, paired_test
from erprm.values.spec import eta_name

MOST_TOKENS = str(task(DemoSettings().task).max_tokens)
BOTH = ["--mode", "softmin", "--outcome-weight", "0.5", "--normalise"]


def arms(demo: Path, targets: list[str]) -> dict[str, list[str]]:
    """The command and options of each arm by name."""
    settings = common.demo_settings(demo)
    known = {target.name: target for target in settings.targets}

    def prm(name: str) -> list[str]:
        target = known[name]
        return ["--prm", str(demo / "models" / f"prm-{target.model}"),
                *(["--prm-eta", eta_name(target.eta)] if target.kind == "er" else [])]

    main, chosen = settings.main, aggregations(demo, settings.targets)
    return {
        "raft correct": ["raft", "--rank-by", "correct"],
        **{f"raft {target}": ["raft", "--aggregate", chosen[target], *prm(target)] for target in targets},
        "grpo outcome": ["grpo", "--outcome-weight", "1"],
        "grpo whole": ["grpo", *BOTH, *prm(main)],
        "grpo per step": ["grpo", *BOTH, "--dense", *prm(main)],
    }


def improve(demo: Path, folder: Path, arm: list[str], given: argparse.Namespace) -> None:
    """Make a policy of the demo's, in `folder`."""
    asked = [*arm[1:], "--policy", str(demo / "models" / "policy"), "--out", str(folder), "--seed", str(given.seed)]
    if arm[0] == "raft":
        cli.run("raft", [*asked, "--solutions", str(demo / "raft-solutions.parquet"), "--max-steps",
                         str(given.raft_steps), "--learning-rate", "5e-4"])
    else:
        cli.run("grpo", [*asked, "--problems", str(demo / "problems" / "label.jsonl"), "--n", "8", "--max-tokens",
                         MOST_TOKENS, "--max-steps", str(given.grpo_steps), "--learning-rate", "5e-5"])


def accuracy(pool: Path) -> dict[str, float]:
    """Of each problem the share of right solutions."""
    outcomes: dict[str, list[float]] = {}
    for row in read_rows(pool):
        outcomes.setdefault(row.problem_key, []).append(float(row.outcome or 0.0))
    return {problem: float(np.mean(values)) for problem, values in outcomes.items()}


def solve(demo: Path, policy: Path, pool: Path, given: argparse.Namespace) -> None:
    """The policy's solutions to the held-out problems."""
    if not pool.is_file():
        cli.run("sample", ["--problems", str(demo / "problems" / "heldout.jsonl"), "--policy", str(policy), "--n",
                           str(given.samples), "--max-tokens", MOST_TOKENS, "--seed", str(given.seed + 1), "--out",
                           str(pool)])


def main() -> None:
    settings = DemoSettings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, nargs="+", required=True, help="folders of finished demos")
    parser.add_argument("--out", type=Path, required=True, help="folder for policies and their solutions")
    parser.add_argument("--output", type=Path, help="result file")
    parser.add_argument("--targets", nargs="+", default=[target.name for target in settings.targets])
    parser.add_argument("--arms", nargs="+", help="only these; by default all")
    parser.add_argument("--samples", type=int, default=8, help="for each held-out problem")
    parser.add_argument("--raft-steps", type=int, default=settings.raft_steps)
    parser.add_argument("--grpo-steps", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"before": [accuracy(demo / "pool.parquet") for demo in given.demo]}
    for number, demo in enumerate(given.demo):
        for name, arm in arms(demo, given.targets).items():
            if given.arms is not None and name not in given.arms:
                continue
            policy = given.out / str(number) / name.replace(" ", "-")
            pool = policy.with_name(f"pool-{policy.name}.parquet")
            started = time.monotonic()
            improve(demo, policy, arm, given)
            solve(demo, policy, pool, given)
            print(f"demo {number}, {name}: {time.monotonic() - started:.0f} s", flush=True)
            found.setdefault(name, []).append(accuracy(pool))
    options = {name: value for name, value in vars(given).items() if name not in ("demo", "out", "output")}
    result: dict[str, Any] = {"environment": common.environment(), "demos": len(given.demo), **options, "arms": {}}
    result["problems"] = sum(map(len, found["before"]))
    for name, parts in found.items():
        ours, before = (np.array([one[problem] for one, old in zip(side, found["before"], strict=True)
                                  for problem in old]) for side in (parts, found["before"]))
        low, high = bootstrap_interval(ours, seed=given.seed)
        gain = paired_test(ours, before, seed=given.seed)
        result["arms"][name] = {
            "accuracy": float(ours.mean()), "low": float(low), "high": float(high),
            "by_demo": [float(np.mean(list(part.values()))) for part in parts],
            "gain": {"difference": gain.difference, "low": gain.low, "high": gain.high, "p": gain.p}}
        print(f"{name:14} pass@1 {100 * ours.mean():5.1f} %, gain {100 * gain.difference:+.1f} "
              f"[{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] over {len(ours)} problems")
    common.write_result(given.output, result)


if __name__ == "__main__":
    main()
