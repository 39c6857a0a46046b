"""Reinforce a policy under a process reward model (group relative policy optimisation, with TRL's GRPOTrainer).

    erprm grpo --policy models/policy --problems gsm8k:train.jsonl --prm runs/prm --out models/policy-grpo
    erprm grpo --policy models/policy --problems problems.jsonl --prm runs/prm --mode softmin --dense \\
               --outcome-weight 0.5 --normalise --out models/policy-grpo
    erprm grpo --policy models/policy --problems problems.jsonl --outcome-weight 1 --out models/policy-outcome

For each problem the policy writes --n completions; those that are paid more than their group become likelier. What a
completion is paid:

  --mode outcome, min, ...   one number: the model's score of the last step, the weakest one, ...
  --mode softmin, shaping    per step: the weakest step (PURE), the change in value
  --outcome-weight w         1 - w of that and w of the graded final answer; 1 needs no --prm: right and wrong alone
  --normalise                both are standardised in each group first, so that neither drowns the other
  --repeat-penalty, --step-penalty

With --dense each step is credited by itself, at its tokens; else a completion as a whole, by the sum. A mode that pays
for every step (steps) teaches long solutions. Problems are what erprm sample reads. --batch-size times
--gradient-accumulation completions, which --n must divide, make an optimiser step. A finished run is left alone, one
with other options refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from erprm.cli.config import option
from erprm.cli.engine_options import check_policy
from erprm.cli.fine_tuning_options import FineTuningConfig
from erprm.cli.grading_options import GradingConfig, extraction_of, pool_of
from erprm.cli.policy_scores import check_prm
from erprm.cli.prompt_options import template_of
from erprm.errors import InputError
from erprm.files.runs import run_once
from erprm.policy.crediting import RewardOptions
from erprm.policy.grpo import GRPOOptions
from erprm.problems import load_problems

if TYPE_CHECKING:
    from erprm.problems import Problem

T = TypeVar("T")


@dataclass(frozen=True)
class Config(GRPOOptions, FineTuningConfig, RewardOptions, GradingConfig):
    """Options of `erprm grpo`."""

    policy: str = option(help="the policy to improve: a folder or a hub name")
    problems: str = option(help="where the problems are, as for erprm sample")
    out: str = option(help="folder for the improved policy", writes="folder")
    prm: str | None = option(None, help="the process reward model: a folder or a hub name")
    prm_eta: float | None = option(None, help="which eta of a --prm that learnt several")
    limit: int | None = option(None, help="only the first so many problems")


def run(config: Config) -> None:
    """Check, train, save."""
    template_of(config)
    extraction_of(config)
    options, paid = _part(config, GRPOOptions), _part(config, RewardOptions)
    if config.prm is None and paid.outcome_weight < 1:
        raise InputError("prm: expected a process reward model, or --outcome-weight 1 for the graded outcome alone, "
                         f"found none with an outcome weight of {paid.outcome_weight}")
    problems = load_problems(config.problems, config.limit)
    if config.dry_run:
        print(f"grpo: {len(problems):,} problems from {config.problems}, {options.n} completions each of at most "
              f"{options.max_tokens:,} tokens, paid by {config.prm or 'their outcome'} "
              f"({'per step' if options.dense else 'as a whole'}), for {config.policy} into {config.out}")
        return
    check_policy(template_of(config), config.policy)
    check_prm(config.prm, config.prm_eta)
    run_once(config, ("policy", "prm", "problems"), lambda: _train(config, problems, options, paid), ("workers",))


def _train(config: Config, problems: Sequence[Problem], options: GRPOOptions, paid: RewardOptions) -> None:
    from erprm.policy.grpo import GradedOutcome, train_grpo
    from erprm.policy.reward import PRMReward
    from erprm.prm.scoring.scorer import PRMScorer

    with pool_of(config) as grader:
        outcome = GradedOutcome(problems, grader)
        reward = outcome if config.prm is None else PRMReward(
            PRMScorer(config.prm, eta=config.prm_eta), splitter=config.splitter,
            outcome=outcome if paid.outcome_weight else None, **dataclasses.asdict(paid))
        report = train_grpo(config.policy, problems, reward, config.out, options, template_of(config))
        if isinstance(reward, PRMReward):
            print(reward.report)
    kl = "" if report.kl is None else f", KL from the beginning {report.kl:.4f}"
    print(f"{report.steps:,} steps on {report.problems:,} problems, {report.dropped:,} dropped as too long; reward "
          f"{report.first:.3f} in the first tenth, {report.last:.3f} in the last{kl}")


def _part(config: Config, kind: type[T]) -> T:
    """Those options of the command that belong to a dataclass of options."""
    return kind(**{item.name: getattr(config, item.name) for item in dataclasses.fields(kind)})  # type: ignore[arg-type]
