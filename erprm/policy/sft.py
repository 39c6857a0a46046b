"""Supervised fine-tuning of a policy on step-by-step solutions, with TRL's SFTTrainer.

    train_sft("models/base", read_rows("solutions.jsonl"), "models/policy", SFTOptions(max_steps=1000))

Only the solution is learnt, not the question. Rows are made into ids with the prompt template that sampling uses, so
that training and sampling see the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError, import_extra
from erprm.rows import StepRow
from erprm.steps import join_steps


@dataclass(frozen=True, slots=True)
class SFTOptions:
    """What `train_sft` may be told; the learning rate decays on a cosine to a tenth after a short warm-up.

    Attributes:
        max_steps: optimiser steps; -1 trains for `epochs` instead.
        batch_size: rows of one device in one forward pass.
        max_length: longer rows are dropped and counted, in tokens.
    """

    max_steps: int = -1
    epochs: float = 1.0
    batch_size: int = 64
    gradient_accumulation: int = 1
    learning_rate: float = 2e-5
    warmup_steps: int = 50
    max_length: int = 1024
    bf16: bool = False
    gradient_checkpointing: bool = False
    report_to: str = "none"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SFTReport:
    """What was trained on: rows kept, rows dropped as too long, tokens of the kept rows, mean loss of the last log."""

    rows: int
    dropped: int
    tokens: int
    loss: float


def encode_solution(tokenizer: Any, template: PromptTemplate, row: StepRow, splitter: str) -> dict[str, list[int]]:
    """A row as `input_ids` and `labels` (-100 on the question), ended by the end-of-sequence token."""
    prompt = template.ids(tokenizer, row.prompt, "")
    whole = [*template.ids(tokenizer, row.prompt, join_steps(row.steps, splitter)), tokenizer.eos_token_id]
    if whole[: len(prompt)] != prompt:
        raise InputError(f"row {row.solution_id or row.prompt[:40]!r}: the tokens of the question change when the "
                         "solution follows; end the prompt text with white space that stays a token of its own")
    return {"input_ids": whole, "labels": [-100] * len(prompt) + whole[len(prompt):]}


def train_sft(model: str | Path, rows: Iterable[StepRow], out: str | Path, options: SFTOptions,
              template: PromptTemplate | None = None, splitter: str = "newline") -> SFTReport:
    """Fine-tune the causal LM at `model` on `rows` and save it with its tokenizer in `out`.

    Raises:
        InputError: when no row is left to train on.
        MissingExtraError: without TRL.
    """
    trl = import_extra("trl", "trl")
    import datasets
    import transformers

    template = template or PromptTemplate()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    encoded = [encode_solution(tokenizer, template, row, splitter) for row in rows]
    kept = [item for item in encoded if len(item["input_ids"]) <= options.max_length]
    if not kept:
        raise InputError(f"{model}: no row to train on ({len(encoded)} read, all longer than {options.max_length} "
                         "tokens)")
    policy = transformers.AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    trainer = trl.SFTTrainer(
        model=policy, processing_class=tokenizer, train_dataset=datasets.Dataset.from_list(kept),
        args=trl.SFTConfig(
            output_dir=str(out), max_steps=options.max_steps, num_train_epochs=options.epochs,
            per_device_train_batch_size=options.batch_size, gradient_accumulation_steps=options.gradient_accumulation,
            learning_rate=options.learning_rate, lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": 0.1}, warmup_steps=options.warmup_steps, weight_decay=0.01,
            bf16=options.bf16, gradient_checkpointing=options.gradient_checkpointing, max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True}, logging_steps=50, save_strategy="no", seed=options.seed,
            report_to=options.report_to))
    trainer.train()
    trainer.save_model(str(out))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return SFTReport(rows=len(kept), dropped=len(encoded) - len(kept),
                     tokens=sum(len(item["input_ids"]) for item in kept), loss=losses[-1] if losses else float("nan"))


def options_from(values: dict[str, Any]) -> SFTOptions:
    """`SFTOptions` from a mapping that may hold other keys too."""
    return SFTOptions(**{name: values[name] for name in asdict(SFTOptions()) if name in values})
