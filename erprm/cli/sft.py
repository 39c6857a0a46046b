"""Teach a policy step-by-step solutions (supervised fine-tuning with TRL).

    erprm sft --model meta-llama/Llama-3.2-1B --data solutions.jsonl --out models/policy --epochs 2

The data are solutions in steps: .jsonl or .parquet rows with "prompt" and "steps", as `erprm sample`, `erprm raft` and
`erprm convert` write them. Only the solution is learnt, not the question. Rows above --max-length tokens are dropped
and counted. The result is a stock checkpoint with its tokenizer.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from erprm.cli.config import option
from erprm.engines.prompts import PromptTemplate
from erprm.rows import read_rows
from erprm.steps import SPLITTERS


@dataclass(frozen=True)
class Config:
    """Options of `erprm sft`."""

    model: str = option(help="the policy to start from: a folder or a hub name")
    data: str = option(help="solutions in steps, .jsonl or .parquet")
    out: str = option(help="folder for the trained policy")
    prompt: str = option("plain", help="how a question is put", choices=("plain", "chat"))
    prompt_text: str = option("{question}\n", help="the text around a question")
    splitter: str = option("newline", help="what stands between two steps", choices=SPLITTERS)
    max_steps: int = option(-1, help="optimiser steps; -1: as many as --epochs takes")
    epochs: float = option(1.0, help="passes over the data")
    batch_size: int = option(64, help="rows per device and forward pass")
    gradient_accumulation: int = option(1, help="forward passes per optimiser step")
    learning_rate: float = option(2e-5, help="peak learning rate; cosine to a tenth of it")
    warmup_steps: int = option(50, help="steps of linear warm-up")
    max_length: int = option(1024, help="longest row, in tokens")
    bf16: bool = option(False, help="train in bfloat16")
    gradient_checkpointing: bool = option(False, help="recompute activations to save memory")
    report_to: str = option("none", help="tracker: none, tensorboard, wandb, ...")
    seed: int = option(0, help="seed of the order of the rows")
    dry_run: bool = option(False, help="print what would be done, and stop")


def run(config: Config) -> None:
    """Fine-tune and save."""
    rows = list(read_rows(config.data))
    steps = config.max_steps
    if steps < 0:
        steps = int(config.epochs * len(rows) / (config.batch_size * config.gradient_accumulation))
    if config.dry_run:
        print(f"sft: {len(rows):,} solutions from {config.data}, about {steps:,} optimiser steps on one device, "
              f"from {config.model} into {config.out}")
        return
    from erprm.policy.sft import options_from, train_sft

    template = PromptTemplate(kind=config.prompt, text=config.prompt_text)  # type: ignore[arg-type]
    report = train_sft(config.model, rows, config.out, options_from(dataclasses.asdict(config)), template,
                       config.splitter)
    print(f"{report.rows:,} solutions, {report.tokens:,} tokens, {report.dropped:,} dropped as too long; "
          f"last loss {report.loss:.3f}")
    print(f"policy: {Path(config.out)}")
