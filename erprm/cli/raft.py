"""Fine-tune a policy on its own solutions, chosen by a process reward model.

    erprm raft --policy models/policy --prm runs/prm --solutions pool.parquet --out models/policy-raft

The solutions (`erprm sample` writes them) are scored; the best one of each problem is learnt (RAFT), or, with
--objective dpo, the best one is preferred to the worst. Run sample and raft in turn for more iterations. For GRPO, hand
`erprm.policy.reward.PRMReward` to TRL's GRPOTrainer. A finished run is left alone, one with other options refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from erprm.cli.config import option
from erprm.cli.fine_tuning_options import FineTuningConfig, options_of
from erprm.cli.prompt_options import template_of
from erprm.files.progress import progress
from erprm.files.runs import run_folder, settings_of
from erprm.rows import StepRow, read_rows, write_rows
from erprm.selection.aggregate import AGGREGATIONS

OBJECTIVES = {"raft": "the best solution of each problem is learnt", "dpo": "the best is preferred to the worst"}


@dataclass(frozen=True)
class Config(FineTuningConfig):
    """Options of `erprm raft`."""

    policy: str = option(help="the policy to improve: a folder or a hub name")
    prm: str = option(help="the process reward model")
    solutions: str = option(help="the policy's solutions, .jsonl or .parquet")
    out: str = option(help="folder for the improved policy; the chosen solutions are written into it as chosen.parquet")
    objective: str = option("raft", help="what is learnt", choices=OBJECTIVES)
    aggregate: str = option("min", help="step scores into one number", choices=AGGREGATIONS)
    minimum: float = option(0.0, help="raft: leave out problems whose best solution scores less")
    margin: float = option(0.0, help="dpo: leave out pairs that differ by less", least=0)
    beta: float = option(0.1, help="dpo: strength of the KL penalty", above=0)
    epochs: float = option(2.0, help="passes over the chosen solutions", above=0)
    warmup_steps: int = option(10, help="steps of linear warm-up", least=0)


def run(config: Config) -> None:
    """Score, choose, fine-tune."""
    template_of(config)
    rows = list(read_rows(config.solutions))
    if config.dry_run:
        problems = len({row.problem_key for row in rows})
        print(f"raft: {len(rows):,} solutions to {problems:,} problems scored by {config.prm}, {config.objective} from "
              f"{config.policy} into {config.out}")
        return
    with run_folder(config.out, settings_of(config, files=("policy", "prm", "solutions"), left_out=())) as folder:
        if folder.finished:
            print(f"{config.out}: this run is finished; nothing to do")
            return
        folder.check(started=False)
        folder.begin()
        _improve(config, rows)
        folder.finish()
    print(f"policy: {Path(config.out)}")


def _improve(config: Config, rows: Sequence[StepRow]) -> None:
    from erprm.policy.dpo import train_dpo
    from erprm.policy.preferences import best_solutions, preference_pairs
    from erprm.policy.sft import train_sft
    from erprm.prm.scoring.scorer import PRMScorer
    from erprm.selection.aggregate import aggregate_all

    template, options = template_of(config), options_of(config)
    with progress("scoring", len(rows), "solutions") as bar:
        scores = aggregate_all(PRMScorer(config.prm).score(rows, bar.advance), config.aggregate)
    chosen = best_solutions(rows, scores, config.minimum)
    write_rows(Path(config.out) / "chosen.parquet", chosen)
    if config.objective == "dpo":
        pairs = preference_pairs(rows, scores, config.margin, config.splitter, template)
        print(f"{len(pairs):,} pairs from {len({row.problem_key for row in rows}):,} problems")
        preferred = train_dpo(config.policy, pairs, config.out, options, config.beta)
        print(f"{preferred.pairs:,} pairs trained on, {preferred.dropped:,} dropped as too long; the preferred side is "
              f"ahead in {100 * preferred.ahead:.0f} % of the last batch")
    else:
        right = [row.outcome for row in chosen if row.outcome is not None]
        share = f", {100 * sum(right) / len(right):.1f} % of those graded are right" if right else ""
        print(f"{len(chosen):,} solutions chosen from {len(rows):,}{share}")
        report = train_sft(config.policy, chosen, config.out, options, template, config.splitter)
        print(f"{report.rows:,} rows trained on, {report.dropped:,} dropped as too long; last loss {report.loss:.3f}")
