"""Options that the commands which fine-tune a policy share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from erprm.cli.config import option
from erprm.engines.prompts import PromptTemplate
from erprm.steps import SPLITTERS


@dataclass(frozen=True)
class FineTuningConfig:
    """How a policy is asked, and how it is trained; names are those of `erprm.policy.sft.SFTOptions`."""

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


def template_of(config: FineTuningConfig) -> PromptTemplate:
    """The prompt template. Raises InputError."""
    return PromptTemplate(cast(Literal["plain", "chat"], config.prompt), config.prompt_text)
