"""Fine-tune a policy on its own solutions, chosen by a process reward model (RAFT).

    erprm raft --policy models/policy --prm runs/prm --problems train.jsonl --heldout test.jsonl --out models/raft
    erprm raft --policy models/policy --prm runs/prm --solutions pool.parquet --out models/policy-raft

With --problems, each of --iterations rounds samples --n solutions of every problem from the policy so far, chooses
among them, learns the chosen ones (at a learning rate that decays by --decay), and measures the new policy on
--heldout: pass@1, its gain over the first policy on the same problems, and the KL divergence from it. Everything of
round i lies in OUT/iteration-i, the policy in its policy/. Killed, the same command goes on with what is missing;
--iterations may be raised later. With --solutions there is one round, on the solutions in that file, and the policy
lies in OUT.

What ranks solutions (--rank-by): prm, the step scores of --prm in one number by --aggregate, whatever target the model
was trained for; correct, right solutions without a reward model, the baseline that a reward model has to beat; both,
right ones by their scores. What is kept: the best of each problem, --keep K best, or --keep 0 --minimum S all that
score at least S. One command with other options is refused. erprm dpo learns from pairs, erprm grpo from rewards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from erprm.cli.config import option
from erprm.cli.engine_options import SamplerConfig, check_policy, engine_with, sampling_of
from erprm.cli.fine_tuning_options import FineTuningConfig, options_of
from erprm.cli.grading_options import GradingConfig, extraction_of, pool_of
from erprm.cli.policy_scores import check_prm
from erprm.cli.prompt_options import template_of
from erprm.errors import InputError
from erprm.files.runs import run_folder, run_once, settings_of
from erprm.policy.raft_options import RANKINGS, RAFTOptions
from erprm.problems import load_problems
from erprm.rows import StepRow, read_some, write_rows
from erprm.values import Array

_LEFT_OUT = ("iterations", "workers", "device", "engine_options", "part_completions")  # may change between two calls


@dataclass(frozen=True)
class Config(RAFTOptions, FineTuningConfig, SamplerConfig, GradingConfig):
    """Options of `erprm raft`."""

    policy: str = option(help="the policy to improve: a folder or a hub name")
    out: str = option(help="folder for the improved policy and what it learnt", writes="folder")
    prm: str | None = option(None, help="the process reward model")
    prm_eta: float | None = option(None, help="which eta of a --prm that learnt several")
    problems: str | None = option(None, help="problems to sample from in iterations, as for erprm sample")
    heldout: str | None = option(None, help="problems to measure on, before and after each iteration")
    solutions: str | None = option(None, help="instead of problems: one round on these solutions, .jsonl or .parquet")
    limit: int | None = option(None, help="only the first so many problems")
    epochs: float = option(2.0, help="passes over the chosen solutions", above=0)
    warmup_steps: int = option(10, help="steps of linear warm-up", least=0)


def run(config: Config) -> None:
    """Check, then one round on given solutions, or iterations."""
    template_of(config)
    extraction_of(config)
    if (config.solutions is None) == (config.problems is None):
        raise InputError("problems: expected either --problems, to sample from, or --solutions, found "
                         + ("neither" if config.problems is None else "both"))
    if config.rank_by != "correct" and config.prm is None:
        raise InputError(f"prm: expected a process reward model for --rank-by {config.rank_by}, found none; --rank-by "
                         "correct needs none")
    if config.solutions is not None:
        _one_round(config, read_some(config.solutions))
    else:
        _iterations(config)


def _one_round(config: Config, rows: Sequence[StepRow]) -> None:
    if config.dry_run:
        problems = len({row.problem_key for row in rows})
        print(f"raft: {len(rows):,} solutions to {problems:,} problems, ranked by {RANKINGS[config.rank_by]}"
              f"{f' of {config.prm}' if config.prm else ''}, the best learnt by {config.policy} into {config.out}")
        return
    _check_models(config)
    run_once(config, ("policy", "prm", "solutions"), lambda: _improve(config, rows), left_out=("workers",))


def _check_models(config: Config) -> None:
    check_policy(template_of(config), config.policy)
    check_prm(config.prm, config.prm_eta)


def _improve(config: Config, rows: Sequence[StepRow]) -> None:
    from erprm.policy.fine_tuning import policy_tokenizer
    from erprm.policy.raft import check_chosen, choose
    from erprm.policy.sft import train_sft

    policy_tokenizer(config.policy, template_of(config))  # what it refuses is said before anything is scored
    options = _raft_options(config)
    chosen = choose(rows, options, lambda part: _scores(config, part))
    check_chosen(chosen, rows, options, str(config.solutions))
    write_rows(Path(config.out) / "chosen.parquet", chosen)
    right = [row.outcome for row in chosen if row.outcome is not None]
    share = f", {100 * sum(right) / len(right):.1f} % of those graded are right" if right else ""
    print(f"{len(chosen):,} solutions chosen from {len(rows):,}{share}")
    report = train_sft(config.policy, chosen, config.out, options_of(config), template_of(config), config.splitter)
    print(f"{report.rows:,} rows trained on, {report.dropped:,} dropped as too long; last loss {report.loss:.3f}")


def _iterations(config: Config) -> None:
    problems = load_problems(str(config.problems), config.limit)
    heldout = load_problems(config.heldout) if config.heldout else []
    options, sampling = _raft_options(config), sampling_of(config)
    if config.dry_run:
        print(f"raft: {options.iterations} iterations of {len(problems):,} problems with {options.n} solutions each, "
              f"{options.iterations * len(problems) * options.n:,} solutions, ranked by {RANKINGS[options.rank_by]}"
              f"{f' of {config.prm}' if config.prm else ''}; measured on {len(heldout):,} held-out problems, for "
              f"{config.policy} into {config.out}")
        return
    from erprm.policy.fine_tuning import policy_tokenizer
    from erprm.policy.raft import Tools, run_raft

    template = template_of(config)
    _check_models(config)
    policy_tokenizer(config.policy, template)
    with run_folder(config.out, settings_of(config, files=("policy", "prm", "problems", "heldout"),
                                            left_out=_LEFT_OUT)) as folder:
        folder.check(started=(Path(config.out) / "iteration-0").is_dir())
        folder.begin()
        with pool_of(config, problems) as grader:
            tools = Tools(lambda policy: engine_with(config, str(policy), template),
                          lambda rows: _scores(config, rows), grader, sampling, template, config.splitter,
                          config.part_completions)
            done = run_raft(config.policy, problems, heldout, config.out, tools, options, options_of(config))
        folder.finish()
    if not heldout:
        print("no --heldout problems: pass@1 and KL were not measured")
    print(f"wrote {Path(config.out) / f'iteration-{done[-1].number}' / 'policy'}")


def _scores(config: Config, rows: Sequence[StepRow]) -> list[Array]:
    from erprm.cli.policy_scores import step_scores

    return step_scores(rows, config.prm, config.prm_eta)


def _raft_options(config: Config) -> RAFTOptions:
    return RAFTOptions(**{item.name: getattr(config, item.name) for item in dataclasses.fields(RAFTOptions)})
