"""Prefer better solutions to worse ones (direct preference optimisation), by the scores of a process reward model.

    erprm sample --problems problems.jsonl --policy models/policy --n 16 --out pool.parquet
    erprm dpo --policy models/policy --prm runs/prm --solutions pool.parquet --out models/policy-dpo
    erprm dpo --policy models/policy --solutions scored.parquet --pairs steps --margin 0.3 --out models/policy-dpo

--pairs solutions: the best solution of each problem against the worst, by --aggregate of their step scores.
--pairs steps: where solutions of a problem share their first steps and then part, the best next step against the worst,
behind the common prefix (Step-DPO): many more pairs, and each says which step was at fault. both: all of them.

Without --prm the scores in the file are taken (erprm score writes them); --rank-by correct needs none: a right solution
against a wrong one, what a reward model has to be better than. --margin leaves out pairs that the model
hardly tells apart. --beta is DPO's, 1 / eta of ER-PRM: small lets the policy go far from where it began. The pairs are
written into OUT as pairs.jsonl, in the preference format of TRL. Weights are trained in float32 by default, whatever
the checkpoint's dtype is: small steps are lost otherwise. A finished run is left alone, one with other options refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from erprm.cli.config import option
from erprm.cli.engine_options import check_policy
from erprm.cli.fine_tuning_options import FineTuningConfig, options_of
from erprm.cli.policy_scores import check_prm
from erprm.cli.prompt_options import template_of
from erprm.errors import InputError
from erprm.files.runs import run_once
from erprm.files.writing import atomic_write
from erprm.rows import StepRow, read_some
from erprm.selection.aggregate import AGGREGATIONS
from erprm.values import Array

PAIRS = {"solutions": "the best solution of a problem against the worst",
         "steps": "the best next step behind a common prefix against the worst", "both": "all of them"}
RANKINGS = {"prm": "step scores", "correct": "right over wrong solutions, no reward model: the baseline"}


@dataclass(frozen=True)
class Config(FineTuningConfig):
    """Options of `erprm dpo`."""

    policy: str = option(help="the policy to improve: a folder or a hub name")
    solutions: str = option(help="several solutions of each problem, .jsonl or .parquet")
    out: str = option(help="folder for the improved policy, and the pairs as pairs.jsonl", writes="folder")
    prm: str | None = option(None, help="the process reward model; by default the scores in the file are taken")
    prm_eta: float | None = option(None, help="which eta of a --prm that learnt several")
    rank_by: str = option("prm", help="what tells better from worse", choices=RANKINGS)
    pairs: str = option("solutions", help="what is paired", choices=PAIRS)
    aggregate: str = option("min", help="solutions: step scores into one number", choices=AGGREGATIONS)
    margin: float = option(0.0, help="leave out pairs whose scores differ by less", least=0)
    beta: float = option(0.1, help="strength of the KL penalty", above=0)
    learning_rate: float = option(5e-7, help="peak learning rate, with linear decay", least=0)
    warmup_steps: int = option(10, help="steps of linear warm-up", least=0)


def run(config: Config) -> None:
    """Score, pair, fine-tune."""
    template_of(config)
    if config.rank_by == "correct" and (config.prm is not None or config.pairs != "solutions"):
        raise InputError("rank_by: correct tells whole solutions apart: expected --pairs solutions and no --prm, found "
                         f"--pairs {config.pairs}" + f" and --prm {config.prm}" * (config.prm is not None))
    rows = read_some(config.solutions)
    if config.dry_run:
        problems = len({row.problem_key for row in rows})
        print(f"dpo: pairs ({config.pairs}) from {len(rows):,} solutions to {problems:,} problems, ranked by "
              f"{config.prm or RANKINGS[config.rank_by]}, for {config.policy} into {config.out}")
        return
    check_policy(template_of(config), config.policy)
    check_prm(config.prm, config.prm_eta)
    run_once(config, ("policy", "prm", "solutions"), lambda: _improve(config, rows))


def _improve(config: Config, rows: Sequence[StepRow]) -> None:
    from erprm.cli.policy_scores import step_scores
    from erprm.policy.dpo import train_dpo
    from erprm.policy.fine_tuning import policy_tokenizer
    from erprm.policy.preferences import preference_pairs, step_forks
    from erprm.selection.aggregate import aggregate_all

    template = template_of(config)
    policy_tokenizer(config.policy, template)  # what it refuses is said before anything is scored
    scores = (_outcomes(rows, config.solutions) if config.rank_by == "correct" else
              step_scores(rows, config.prm, config.prm_eta))
    pairs: list[dict[str, Any]] = []
    if config.pairs != "steps":
        pairs += preference_pairs(rows, aggregate_all(scores, config.aggregate), config.margin, config.splitter,
                                  template)
    whole = len(pairs)
    if config.pairs != "solutions":
        pairs += step_forks(rows, scores, config.margin, config.splitter, template)
    print(f"{len(pairs):,} pairs ({whole:,} of solutions, {len(pairs) - whole:,} of steps) from "
          f"{len({row.problem_key for row in rows}):,} problems")
    if not pairs:
        raise InputError(f"{config.solutions}: expected solutions of a problem whose scores differ by more than "
                         f"{config.margin}, found none")
    with atomic_write(Path(config.out) / "pairs.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs), encoding="utf-8")
    report = train_dpo(config.policy, pairs, config.out, options_of(config), config.beta)
    print(f"{report.pairs:,} pairs trained on, {report.dropped:,} dropped as too long; the preferred side is ahead in "
          f"{100 * report.ahead:.0f} % of the last batch")


def _outcomes(rows: Sequence[StepRow], path: str) -> list[Array]:
    """At each step [L] of a row 1.0 where its solution is right, else 0.0."""
    for number, row in enumerate(rows, start=1):
        if row.outcome is None:
            raise InputError(f"{path}: row {number}: expected an outcome for --rank-by correct, found none; erprm "
                             "grade writes it")
    return [np.full(len(row.steps), float(row.outcome == 1.0)) for row in rows]
