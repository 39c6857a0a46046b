"""`PRMConfig`: transformers' `TrainingArguments` with what a PRM needs besides (`PRMOptions`).

    PRMConfig(output_dir="runs/prm", target="er", eta=2.0, learning_rate=1e-6, per_device_train_batch_size=16)
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from transformers import TrainingArguments
from transformers.integrations import get_available_reporting_integrations

from erprm.errors import InputError
from erprm.options import check_value
from erprm.prm.spec import PRMSpec
from erprm.prm.training.options import PRMOptions
from erprm.values import KINDS
from erprm.values.spec import TargetSpec


@dataclass
class PRMConfig(PRMOptions, TrainingArguments):  # type: ignore[misc]
    """Options of `PRMTrainer`; every option of `TrainingArguments` is there too.

    Raises:
        InputError: for a value outside its choices or range.
    """

    def __post_init__(self) -> None:
        for item in dataclasses.fields(PRMOptions):
            check_value(item, getattr(self, item.name))
        check_trackers(self.report_to)
        if self.early_stopping_patience > 0 and str(getattr(self.eval_strategy, "value", self.eval_strategy)) == "no":
            raise InputError("early_stopping_patience: expected evaluations (eval_strategy) on held-out rows, "
                             "found none")
        if self.use_liger_kernel:  # its losses would replace the model's forward pass
            self.liger_kernel_config: dict[str, bool] | None = {
                "rope": True, "rms_norm": True, "swiglu": True, **(self.liger_kernel_config or {}),
                "cross_entropy": False, "fused_linear_cross_entropy": False}
        self.remove_unused_columns = False  # the collator makes the columns
        self.logging_nan_inf_filter = False  # the trainer stops at such a loss instead of hiding it
        self.dataloader_pin_memory: bool = bool(self.dataloader_pin_memory) and torch.cuda.is_available()
        self.load_best_model_at_end: bool = bool(self.load_best_model_at_end) or self.early_stopping_patience > 0
        if self.load_best_model_at_end:
            self.metric_for_best_model: str | None = self.metric_for_best_model or "step_auc"
        try:
            super().__post_init__()
        except ValueError as error:  # transformers' own words on its own arguments
            raise InputError(" ".join(str(error).split())) from error
        if self.n_gpu > 1:
            raise InputError(f"GPUs: expected one per process, found {self.n_gpu} in this one; start with: "
                             f"torchrun --nproc-per-node {self.n_gpu} ..., or set CUDA_VISIBLE_DEVICES=0")

    def model_spec(self, target: TargetSpec) -> PRMSpec:
        """What the checkpoint says of itself."""
        about: dict[str, object] = {"kind": target.kind}
        about |= {name: getattr(target, name) for name in KINDS[target.kind].reads}
        if len(target.etas) > 1:
            about["eta"] = list(target.etas)
        return PRMSpec(self.loss, self.tags(), about, self.concentration)


def check_trackers(report_to: str | list[str] | None) -> None:
    """Raise InputError for a tracker that transformers doesn't know or whose package is missing."""
    installed = ("none", "all", *get_available_reporting_integrations())
    for name in [report_to] if isinstance(report_to, str) else report_to or ():
        if name not in installed:
            raise InputError(f"report_to: expected an installed tracker ({', '.join(installed)}), found {name!r}")
