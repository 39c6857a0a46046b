"""What supervised fine-tuning and preference training share: options, tokens as sampling sees them, batches, saving.

    options = SFTOptions(max_steps=1000, dtype="bfloat16")
    prompt, completion = encode(tokenizer, PromptTemplate(), "2+3?", "2+3=5\\nThe answer is 5")
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError
from erprm.options import LARGEST_SEED, check, option

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_STEP_ROWS = 64  # rows of an optimiser step on one device, where neither batch nor accumulation is given
_LOGITS_BYTES = 2 << 30  # of float32 logits in one forward pass, where no batch is given


@dataclass(frozen=True)
class SFTOptions:
    """How a policy is trained; for all commands that train one.

    Raises:
        InputError: for a value outside its range.
    """

    max_steps: int = option(-1, help="optimiser steps; -1: as many as --epochs takes", least=-1)
    epochs: float = option(1.0, help="passes over the data", above=0)
    batch_size: int | None = option(None, help="rows per device and forward pass (default: 64, or as many of them as "
                                    "the vocabulary's logits leave room for, with the others accumulated)", least=1)
    gradient_accumulation: int = option(1, help="forward passes per optimiser step", least=1)
    learning_rate: float = option(2e-5, help="peak learning rate; cosine to a tenth of it", least=0)
    warmup_steps: int = option(50, help="steps of linear warm-up", least=0)
    max_length: int = option(1024, help="longest row, in tokens; longer ones are dropped and counted", least=1)
    dtype: str = option("float32", help="dtype of the weights that are trained and saved",
                        choices=("float32", "bfloat16"))
    bf16: bool = option(False, help="bf16 mixed precision")
    gradient_checkpointing: bool = option(False, help="recompute activations to save memory")
    report_to: str = option("none", help="tracker: none, tensorboard, wandb, ...")
    seed: int = option(0, help="seed of the order of the rows", least=0, most=LARGEST_SEED)

    def __post_init__(self) -> None:
        check(self)
        if self.max_steps == 0:
            raise InputError("max_steps: expected -1 or at least 1, found 0")

    def batches(self, longest: int, vocabulary: int, rows_each: int = 1) -> tuple[int, int]:
        """(rows of a forward pass, forward passes of a step).

        Args:
            longest: tokens of the longest row.
            vocabulary: V.
            rows_each: forward rows that one item takes; 2 for a pair.
        """
        if self.batch_size is not None:
            return self.batch_size, self.gradient_accumulation
        fitting = _LOGITS_BYTES // (4 * longest * vocabulary * rows_each)
        size = max(divisor for divisor in range(1, _STEP_ROWS + 1)
                   if _STEP_ROWS % divisor == 0 and divisor <= max(fitting, 1))
        return size, _STEP_ROWS // size * self.gradient_accumulation

    def steps(self, rows: int) -> int:
        """Optimiser steps over so many rows on one device."""
        step_rows = _STEP_ROWS if self.batch_size is None else self.batch_size
        return self.max_steps if self.max_steps > 0 else math.ceil(
            self.epochs * rows / (step_rows * self.gradient_accumulation))

    def arguments(self, out: str | Path, batches: tuple[int, int]) -> dict[str, Any]:
        """These options as transformers' training arguments. Raises InputError for a tracker that is not there."""
        from erprm.prm.training.config import check_trackers

        check_trackers(self.report_to)
        return {"output_dir": str(out), "max_steps": self.max_steps, "num_train_epochs": self.epochs,
                "per_device_train_batch_size": batches[0], "gradient_accumulation_steps": batches[1],
                "learning_rate": self.learning_rate, "warmup_steps": self.warmup_steps, "bf16": self.bf16,
                "gradient_checkpointing": self.gradient_checkpointing, "seed": self.seed, "report_to": self.report_to,
                "save_strategy": "no", "logging_nan_inf_filter": False}


def policy_tokenizer(model: str | Path, template: PromptTemplate) -> PreTrainedTokenizerBase:
    """The policy's tokenizer; template and vocabulary are tried before anything large is loaded. Raises InputError."""
    from transformers import AutoConfig

    from erprm.tokenizers import check_padding, load_tokenizer

    tokenizer = load_tokenizer(model)
    if tokenizer.eos_token_id is None:
        raise InputError(f"{model}: expected a tokenizer with an end-of-sequence token, found none")
    template.ids(tokenizer, "1+1?", "")
    check_padding(tokenizer, AutoConfig.from_pretrained(str(model)).get_text_config().vocab_size)
    return tokenizer


def load_policy(model: str | Path, dtype: str) -> tuple[PreTrainedModel, int]:
    """The causal language model to train, and its vocabulary size. Raises InputError for weights that are NaN."""
    from erprm.loading import load_causal
    from erprm.prm.training.saving import check_finite

    policy = load_causal(model, dtype=dtype)
    check_finite(policy, str(model))
    return policy, int(policy.config.get_text_config().vocab_size)


def encode(tokenizer: PreTrainedTokenizerBase, template: PromptTemplate, question: str, completion: str,
           prefix: str = "", ended: bool = True) -> tuple[list[int], list[int]]:
    """Ids of the question as it is put to the policy, and of the completion with the end-of-sequence token.

    Args:
        prefix: what the policy has written already; part of the first.
        ended: False for a completion that goes on, which gets no end-of-sequence token.

    Raises:
        InputError: when the question's tokens change as the completion follows.
    """
    prompt = template.ids(tokenizer, question, prefix)
    whole = template.ids(tokenizer, question, prefix + completion)
    if whole[: len(prompt)] != prompt:
        raise InputError(f"prompt {question[:40]!r}: the tokens of the question change when the solution follows; end "
                         "the prompt text with white space that stays a token of its own")
    eos = tokenizer.eos_token_id
    assert isinstance(eos, int)
    return prompt, [*whole[len(prompt):], *([eos] if ended else [])]


def save(trainer: Any, out: str | Path) -> None:
    """The trained policy and its tokenizer into `out`, which has `config.json` once all is there."""
    with trainer.written(Path(out), last="config.json") as folder:
        trainer.save_model(str(folder))
