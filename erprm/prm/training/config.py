"""`PRMConfig`: transformers' `TrainingArguments` with what a PRM needs besides.

    PRMConfig(output_dir="runs/prm", target="er", eta=2.0, learning_rate=1e-6, per_device_train_batch_size=16)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

from erprm.errors import InputError
from erprm.prm.spec import PRMSpec
from erprm.prm.training.dataset import TOO_LONG
from erprm.steps import StepTags
from erprm.values.spec import TargetSpec

LAYOUT_CHOICES = ("auto", "padded", "packed", "shared")
AUTO_TARGET = "auto"
_TAGS = StepTags()


@dataclass
class PRMConfig(TrainingArguments):  # type: ignore[misc]
    """Options of `PRMTrainer`; every option of `TrainingArguments` is there too.

    Raises:
        InputError: for a value outside its choices.
    """

    loss: str = field(default="pair", metadata={"help": "pair, vocab, head or beta_binomial"})
    target: str = field(default=AUTO_TARGET, metadata={
        "help": "er, soft, hard, outcome or labels; auto is er for rows with counts, else labels"})
    eta: float = field(default=2.0, metadata={"help": "inverse temperature of the er target; any finite number"})
    estimator: str = field(default="plug-in", metadata={
        "help": "of the er target: plug-in, jackknife, delta, beta, empirical-bayes"})
    threshold: float = field(default=0.0, metadata={"help": "the hard target is 1 where k/n is above"})
    concentration: float = field(default=8.0, metadata={"help": "of the beta_binomial loss, in completions"})
    max_length: int = field(default=512, metadata={"help": "most tokens of a row"})
    too_long: str = field(default="cut", metadata={"help": "a longer row is cut behind a step, or dropped: cut, drop"})
    strict: bool = field(default=False, metadata={"help": "a row that would be dropped is an error"})
    layout: str = field(default="auto", metadata={
        "help": "padded (length-grouped rows), packed (rows behind each other), shared (prefixes of a problem's rows "
                "computed once); auto is shared where it saves enough, else packed on a GPU and padded on a CPU"})
    length_window: int = field(default=8, metadata={"help": "optimiser steps whose rows are sorted by length together"})
    early_stopping_patience: int = field(default=0, metadata={
        "help": "stop after so many evaluations without a better step AUC; 0 never"})
    tag: str = field(default=_TAGS.tag, metadata={"help": "the token behind each step"})
    plus: str = field(default=_TAGS.plus, metadata={"help": "the token of a good step"})
    minus: str = field(default=_TAGS.minus, metadata={"help": "the token of a bad step"})
    prompt_end: str = field(default=_TAGS.prompt_end, metadata={"help": "text between prompt and first step"})
    step_end: str = field(default=_TAGS.step_end, metadata={"help": "text between a tag and the next step"})

    def __post_init__(self) -> None:
        for name, choices in (("layout", LAYOUT_CHOICES), ("too_long", TOO_LONG)):
            if getattr(self, name) not in choices:
                raise InputError(f"{name}: expected one of {', '.join(choices)}, found {getattr(self, name)!r}")
        for name in ("max_length", "length_window"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, found {getattr(self, name)}")
        self.remove_unused_columns = False  # the collator makes the columns
        self.dataloader_pin_memory: bool = bool(self.dataloader_pin_memory) and torch.cuda.is_available()
        self.load_best_model_at_end: bool = bool(self.load_best_model_at_end) or self.early_stopping_patience > 0
        if self.load_best_model_at_end:
            self.metric_for_best_model: str | None = self.metric_for_best_model or "step_auc"
        super().__post_init__()
        if self.n_gpu > 1:
            raise InputError(f"GPUs: expected one per process, found {self.n_gpu} in this one; start with: "
                             f"torchrun --nproc-per-node {self.n_gpu} ..., or set CUDA_VISIBLE_DEVICES=0")

    def target_spec(self, has_counts: bool) -> TargetSpec:
        """The targets, with "auto" resolved."""
        kind = ("er" if has_counts else "labels") if self.target == AUTO_TARGET else self.target
        return TargetSpec(kind, self.eta, self.estimator, self.threshold)

    def model_spec(self, target: TargetSpec) -> PRMSpec:
        """What the checkpoint says of itself."""
        tags = StepTags(self.tag, self.plus, self.minus, self.prompt_end, self.step_end)
        about: dict[str, object] = {"kind": target.kind}
        if target.kind == "er":
            about |= {"eta": target.eta, "estimator": target.estimator}
        elif target.kind == "hard":
            about |= {"threshold": target.threshold}
        return PRMSpec(self.loss, tags, about, self.concentration)
