"""Teach a policy step-by-step solutions (supervised fine-tuning with TRL).

    erprm sft --model meta-llama/Llama-3.2-1B --data solutions.jsonl --out models/policy --epochs 2

The data are solutions in steps: .jsonl or .parquet rows with "prompt" and "steps", as `erprm sample`, `erprm raft` and
`erprm convert` write them. Only the solution is learnt, not the question. Rows above --max-length tokens are dropped
and counted. The result is a stock checkpoint with its tokenizer, there once training is finished; the same command
again then does nothing, and one with other options is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from erprm.cli.config import option
from erprm.cli.engine_options import check_policy
from erprm.cli.fine_tuning_options import FineTuningConfig, options_of
from erprm.cli.prompt_options import template_of
from erprm.files.runs import run_once
from erprm.rows import read_some


@dataclass(frozen=True)
class Config(FineTuningConfig):
    """Options of `erprm sft`."""

    model: str = option(help="the policy to start from: a folder or a hub name")
    data: str = option(help="solutions in steps, .jsonl or .parquet")
    out: str = option(help="folder for the trained policy", writes="folder")


def run(config: Config) -> None:
    """Fine-tune and save."""
    template = template_of(config)
    rows = read_some(config.data)
    if config.dry_run:
        print(f"sft: {len(rows):,} solutions from {config.data}, about {config.steps(len(rows)):,} optimiser steps on "
              f"one device, from {config.model} into {config.out}")
        return
    from erprm.policy.sft import train_sft

    options = options_of(config)

    def work() -> None:
        report = train_sft(config.model, rows, config.out, options, template, config.splitter)
        print(f"{report.rows:,} solutions, {report.tokens:,} tokens, {report.dropped:,} dropped as too long; "
              f"last loss {report.loss:.3f}")

    check_policy(template_of(config), config.model)
    run_once(config, ("model", "data"), work)
