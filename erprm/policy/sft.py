"""Supervised fine-tuning of a policy on step-by-step solutions, with TRL's SFTTrainer.

    train_sft("models/base", read_rows("solutions.jsonl"), "models/policy", SFTOptions(max_steps=1000))

Only the solution is learnt, not the question. Rows are made into ids with the prompt template that sampling uses, so
that training and sampling see the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError, import_extra
from erprm.policy.fine_tuning import SFTOptions, encode, load_policy, policy_tokenizer, save
from erprm.rows import StepRow
from erprm.steps import join_steps

__all__ = ["SFTOptions", "SFTReport", "encode_solution", "train_sft"]


@dataclass(frozen=True, slots=True)
class SFTReport:
    """What was trained on: rows kept, rows dropped as too long, tokens of the kept rows.

    `loss` is the mean of the last 50 steps that were logged, of the whole run where it was shorter.
    """

    rows: int
    dropped: int
    tokens: int
    loss: float


def encode_solution(tokenizer: Any, template: PromptTemplate, row: StepRow, splitter: str) -> dict[str, list[int]]:
    """A row as `input_ids` and `labels` (-100 on the question), ended by the end-of-sequence token."""
    solution = join_steps(row.steps, splitter, gaps=row.gaps)
    prompt, completion = encode(tokenizer, template, row.prompt, solution)
    return {"input_ids": prompt + completion, "labels": [-100] * len(prompt) + completion}


def train_sft(model: str | Path, rows: Iterable[StepRow], out: str | Path, options: SFTOptions,
              template: PromptTemplate | None = None, splitter: str = "newline") -> SFTReport:
    """Fine-tune the causal LM at `model` on `rows` and save it with its tokenizer in `out`.

    Raises:
        InputError: when no row is left to train on, for a template that the model refuses, when the loss is NaN.
        MissingExtraError: without TRL.
    """
    trl = import_extra("trl", "trl")
    import datasets

    from erprm.prm.training.saving import WholeCheckpoints

    template = template or PromptTemplate()
    tokenizer = policy_tokenizer(model, template)
    encoded = [encode_solution(tokenizer, template, row, splitter) for row in rows]
    kept = [item for item in encoded if len(item["input_ids"]) <= options.max_length]
    if not kept:
        raise InputError(f"{model}: no row to train on ({len(encoded)} read, all longer than {options.max_length} "
                         "tokens)")
    policy, vocabulary = load_policy(model, options.dtype)
    batches = options.batches(max(len(item["input_ids"]) for item in kept), vocabulary)

    class Trainer(WholeCheckpoints, trl.SFTTrainer):  # type: ignore[misc, name-defined]
        pass

    trainer = Trainer(
        model=policy, processing_class=tokenizer, train_dataset=datasets.Dataset.from_list(kept),
        args=trl.SFTConfig(
            **options.arguments(out, batches), lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": 0.1}, weight_decay=0.01, max_length=None, logging_steps=50,
            dataset_kwargs={"skip_prepare_dataset": True}))
    whole_run = trainer.train().training_loss
    save(trainer, out)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return SFTReport(rows=len(kept), dropped=len(encoded) - len(kept),
                     tokens=sum(len(item["input_ids"]) for item in kept), loss=losses[-1] if losses else whole_run)
