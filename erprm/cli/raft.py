"""Fine-tune a policy on its own solutions, chosen by a process reward model.

    erprm raft --policy models/policy --prm runs/prm --solutions pool.parquet --out models/policy-raft

The solutions (`erprm sample` writes them) are scored; the best one of each problem is learnt (RAFT). Run sample and
raft in turn for more iterations. A finished run is left alone, one with other options refused. erprm dpo learns from
pairs, erprm grpo from rewards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from erprm.cli.config import option
from erprm.cli.fine_tuning_options import FineTuningConfig, options_of
from erprm.cli.prompt_options import template_of
from erprm.files.runs import run_once
from erprm.rows import StepRow, read_rows, write_rows
from erprm.selection.aggregate import AGGREGATIONS


@dataclass(frozen=True)
class Config(FineTuningConfig):
    """Options of `erprm raft`."""

    policy: str = option(help="the policy to improve: a folder or a hub name")
    prm: str = option(help="the process reward model")
    solutions: str = option(help="the policy's solutions, .jsonl or .parquet")
    out: str = option(help="folder for the improved policy; the chosen solutions are written into it as chosen.parquet")
    aggregate: str = option("min", help="step scores into one number", choices=AGGREGATIONS)
    minimum: float = option(0.0, help="leave out problems whose best solution scores less")
    epochs: float = option(2.0, help="passes over the chosen solutions", above=0)
    warmup_steps: int = option(10, help="steps of linear warm-up", least=0)


def run(config: Config) -> None:
    """Score, choose, fine-tune."""
    template_of(config)
    rows = list(read_rows(config.solutions))
    if config.dry_run:
        problems = len({row.problem_key for row in rows})
        print(f"raft: {len(rows):,} solutions to {problems:,} problems scored by {config.prm}, the best of each "
              f"learnt by {config.policy} into {config.out}")
        return
    run_once(config, ("policy", "prm", "solutions"), lambda: _improve(config, rows))


def _improve(config: Config, rows: Sequence[StepRow]) -> None:
    from erprm.cli.policy_scores import step_scores
    from erprm.policy.fine_tuning import policy_tokenizer
    from erprm.policy.preferences import best_solutions
    from erprm.policy.sft import train_sft
    from erprm.selection.aggregate import aggregate_all

    template, options = template_of(config), options_of(config)
    policy_tokenizer(config.policy, template)  # what it refuses is said before anything is scored
    scores = aggregate_all(step_scores(rows, config.prm), config.aggregate)
    chosen = best_solutions(rows, scores, config.minimum)
    write_rows(Path(config.out) / "chosen.parquet", chosen)
    right = [row.outcome for row in chosen if row.outcome is not None]
    share = f", {100 * sum(right) / len(right):.1f} % of those graded are right" if right else ""
    print(f"{len(chosen):,} solutions chosen from {len(rows):,}{share}")
    report = train_sft(config.policy, chosen, config.out, options, template, config.splitter)
    print(f"{report.rows:,} rows trained on, {report.dropped:,} dropped as too long; last loss {report.loss:.3f}")
