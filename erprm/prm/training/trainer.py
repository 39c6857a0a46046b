"""`PRMTrainer`: transformers' Trainer with our model, batches, loss and evaluation.

    trainer = PRMTrainer("meta-llama/Llama-3.2-1B", PRMConfig("runs/prm", eta=2.0, bf16=True), "rows.parquet")
    trainer.train()
    trainer.save_model("runs/prm/final")              # stock transformers loads it

Everything else is the Trainer's: accelerate with FSDP or DeepSpeed, gradient accumulation and checkpointing, bf16,
torch.compile, trackers, checkpoints and resuming. The loss of an optimiser step is the sum over its labelled steps
divided by their number, however the step is divided into processes and micro-batches; a row with a weight counts so
many times.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from erprm.errors import InputError, import_extra
from erprm.prm.attention import spans
from erprm.prm.model import PRM
from erprm.prm.spec import FILE_NAME as SPEC_NAME
from erprm.prm.spec import PRMSpec
from erprm.prm.training.batches import Collator
from erprm.prm.training.config import PRMConfig
from erprm.prm.training.dataset import EncodedDataset
from erprm.prm.training.encode import DataReport, encode_dataset
from erprm.prm.training.evaluating import StepEvaluation
from erprm.prm.training.inputs import rows_of
from erprm.prm.training.layout import choose_layout, group_rows, sharing
from erprm.prm.training.learnt import choose_learnt, labelled_steps
from erprm.prm.training.order import RowNumbers, RowSampler
from erprm.prm.training.saving import WholeCheckpoints, check_finite
from erprm.rows import StepRow
from erprm.tokenizers import check_padding, load_tokenizer
from erprm.values.spec import TargetSpec


class PRMTrainer(WholeCheckpoints, StepEvaluation):
    """See the module.

    Args:
        model: a causal language model, its path, a PRM, or the path of one (to train on).
        args: the options.
        train_dataset: an `EncodedDataset`, a `.jsonl` or `.parquet` file of rows, an iterable of `StepRow`, or a
            dataset with TRL's `prompt`, `completions`, `labels`.
        eval_dataset: held-out rows in the same forms.
        processing_class: the tokenizer; the model's own by default where `model` is a path.
        peft_config: trains adapters of this kind (LoRA, ...) instead of all weights.
        model_options: for `from_pretrained` where `model` is a path (dtype, ...).
        options: for `transformers.Trainer`.

    Raises:
        InputError: for unusable arguments, tokens or rows, before anything is trained.
    """

    args: PRMConfig

    def __init__(self, model: str | Path | PreTrainedModel, args: PRMConfig, train_dataset: Any = None,
                 eval_dataset: Any = None, processing_class: PreTrainedTokenizerBase | None = None,
                 peft_config: Any = None, model_options: dict[str, Any] | None = None, **options: Any) -> None:
        if processing_class is None:
            if isinstance(model, PreTrainedModel):
                raise InputError("processing_class: expected the model's tokenizer, found none")
            processing_class = load_tokenizer(model)
        first, train_dataset = _first(train_dataset)
        self.target = args.target_spec(has_counts=first is None or first.has_completions)
        spec = args.model_spec(self.target)
        self._tokenizer = processing_class
        prm = PRM.for_training(model, processing_class, spec, seed=args.seed, **(model_options or {}))
        assert prm.tokens is not None
        self.tokens = prm.tokens
        self._prm = prm
        self._padding = check_padding(processing_class, prm.vocabulary)
        self.report: DataReport | None = None
        if train_dataset is not None:
            train_dataset, self.report = self._encoded(train_dataset, args, self.target)
            self.target = train_dataset.fitted(self.target)  # held-out steps get their targets by the same prior
        eval_dataset = self._encoded_evaluation(eval_dataset, args)
        self.layout = choose_layout(args.layout, args.device.type, train_dataset, prm.config, _step_rows(args),
                                    args.per_device_train_batch_size)
        self._pad_id = processing_class.pad_token_id or 0
        reason = spans.separate_rows_only(prm.model)
        if reason is not None and self.layout != "padded":
            if args.layout != "auto":
                raise InputError(f"layout: expected padded, found {args.layout}: {reason}")
            self.layout = "padded"
        name = spans.implementation(args.device, {"padded": "plain", "packed": "varlen"}.get(self.layout, "spans"),
                                        args.bf16 or args.fp16 or prm.dtype != torch.float32, prm.model)
        prm.model.set_attn_implementation(name)
        trained: Any = prm if peft_config is None else _with_adapters(prm, peft_config)
        super().__init__(model=trained, args=args, train_dataset=train_dataset, eval_dataset=eval_dataset,
                         processing_class=processing_class, **options)
        self._trained_parameters = sum(parameter.numel() for parameter in prm.model.parameters())
        if args.early_stopping_patience > 0:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))

    # ---- data ----

    def _encoded(self, source: Any, args: PRMConfig, target: TargetSpec) -> tuple[EncodedDataset, DataReport | None]:
        if isinstance(source, EncodedDataset):
            return source, None
        return encode_dataset(rows_of(source), self._tokenizer, self.tokens, max_length=args.max_length,
                              too_long=args.too_long, target=target, strict=args.strict,
                              vocabulary=self._prm.vocabulary)

    def _encoded_evaluation(self, source: Any, args: PRMConfig) -> Any:
        if source is None:
            return None
        if isinstance(source, dict):
            return {name: self._encoded(part, args, self.target)[0] for name, part in source.items()}
        return self._encoded(source, args, self.target)[0]

    def _collator(self, dataset: EncodedDataset, layout: str) -> Collator:
        on_gpu = self.args.device.type == "cuda"
        if layout == "packed" and not on_gpu:
            layout = "binned"
        # FlexAttention skips what the mask hides, so one long row costs nothing; a dense mask grows with its square.
        return Collator(dataset, self.target, layout=layout, pad_id=self._pad_id, capacity=sys.maxsize if on_gpu else 0,
                        flex=on_gpu,
                        learnt=choose_learnt(dataset, self.target, self.args.loss))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of the training rows; reports what was read first."""
        if self.train_dataset is None:
            raise InputError("train_dataset: expected rows to train on, found none")
        sampler = self._get_train_sampler()
        collator = self._collator(self.train_dataset, self.layout)
        if self.is_world_process_zero():
            self._print_report(collator, sampler)
        args = self.args
        loader = DataLoader(RowNumbers(sampler), batch_size=self._train_batch_size, sampler=sampler,
                            collate_fn=collator, num_workers=args.dataloader_num_workers,
                            pin_memory=args.dataloader_pin_memory, drop_last=args.dataloader_drop_last,
                            persistent_workers=args.dataloader_persistent_workers,
                            prefetch_factor=args.dataloader_prefetch_factor)
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def _get_train_sampler(self, train_dataset: Any = None) -> RowSampler:
        args = self.args
        return RowSampler(train_dataset or self.train_dataset, _step_rows(args), window=args.length_window,
                          group_rows=group_rows(self.layout, _step_rows(args)),
                          seed=args.seed if args.data_seed is None else args.data_seed)

    def _print_report(self, collator: Collator, sampler: RowSampler, batches: int = 32) -> None:
        """What was read, and how much of the first batches' places hold a token."""
        rows = list(itertools.islice(sampler, batches * self._train_batch_size))
        lengths = collator.dataset.lengths
        places = 0
        for begin in range(0, len(rows), self._train_batch_size):
            places += collator(rows[begin: begin + self._train_batch_size])["input_ids"].numel()  # type: ignore[union-attr]
        saving = sharing(collator.dataset).saving if self.layout == "shared" else 0.0
        lines = [str(self.tokens), *([self._padding] if self._padding else []),
                 *([str(self.report)] if self.report is not None else [])]
        lines.append(f"layout: {self.layout}, {100 * lengths[rows].sum() / places:.0f} row tokens per 100 computed"
                     + (f", shared prefixes save up to {100 * saving:.0f}%" if saving else ""))
        print("\n".join(lines), flush=True)

    # ---- the Trainer's own questions ----

    def train(self, resume_from_checkpoint: str | bool | None = None, *arguments: Any, **options: Any) -> Any:
        """The Trainer's; `resume_from_checkpoint=True` goes on from the newest whole checkpoint, if there is one.

        Raises:
            InputError: for weights that aren't finite, or a checkpoint of another loss, tags or targets.
        """
        check_finite(self._prm, "model")
        return super().train(resume_from_checkpoint, *arguments, **options)

    def check_checkpoint(self, checkpoint: Path) -> None:
        """Whether it is one of this loss, tags and targets; adapters alone don't say. Raises InputError."""
        if (checkpoint / SPEC_NAME).is_file() and (kept := PRMSpec.load(checkpoint)) != self._prm.spec:
            raise InputError(f"{checkpoint}: expected a checkpoint of {self._prm.spec}, found {kept}")

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """The labelled steps of the optimiser step, by the weights of their rows; the Trainer would count `labels`."""
        count = float(sum(labelled_steps(batch) for batch in batch_samples))
        known = torch.full((), count, dtype=torch.float32, device=device)  # written there: a copy would wait
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            known = self.accelerator.gather(known).sum()
        return known / (self.get_tp_size() * self.get_cp_size() * self.get_sp_size())

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """6 per parameter and token; the Trainer's own count walks over all parameters at every step."""
        tokens: Tensor = inputs["input_ids"]
        return int(6 * self._trained_parameters * tokens.numel())

    def save_merged(self, folder: str | Path) -> None:
        """`save_model`, with adapters (LoRA) merged into the weights, so that the folder is a checkpoint of its own.

        The folder's other files stay; it has `erprm.json` once all is there.
        """
        model = self.accelerator.unwrap_model(self.model)
        if hasattr(model, "merge_and_unload"):
            self.model = model.merge_and_unload()
        with self.written(Path(folder), last=SPEC_NAME) as beside:
            self.save_model(str(beside))


def _first(source: Any) -> tuple[StepRow | None, Any]:
    """The first row (None for encoded data) and the whole source again."""
    if source is None or isinstance(source, EncodedDataset):
        return None, source
    stream: Iterator[StepRow] = rows_of(source)
    first = next(stream, None)
    if first is None:
        raise InputError("train_dataset: expected at least one row, found none")
    return first, itertools.chain([first], stream)


def _with_adapters(prm: PRM, peft_config: Any) -> Any:
    """A PEFT model whose step head is trained whole."""
    peft = import_extra("peft", "peft")
    saved = list(peft_config.modules_to_save or [])
    if not prm.spec.objective.vocabulary and "score" not in saved:
        saved.append("score")
    return peft.get_peft_model(prm, dataclasses.replace(peft_config, task_type=None, modules_to_save=saved or None))


def _step_rows(args: PRMConfig) -> int:
    return int(args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size)
