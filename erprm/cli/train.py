"""Train a process reward model on labelled rows.

The rows hold counts (`erprm label`) or labels; which target a step gets is chosen here, so the same rows train on any
eta. Before it trains, the command reports how many rows were read, kept, cut and dropped, and why.

    erprm train --model policy/ --data labels/rows.parquet --eval heldout.parquet --eta 2 --out runs/prm
    torchrun --nproc-per-node 8 -m erprm train --config recipes/8b.yaml       # several GPUs

--out receives a stock checkpoint (AutoModelForTokenClassification; a causal language model for the vocab loss), its
tokenizer and erprm.json. Stopped runs continue from their last checkpoint when called again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erprm.cli.config import option
from erprm.errors import InputError, import_extra
from erprm.values import ESTIMATORS


@dataclass(frozen=True)
class Config:
    """Options of `erprm train`."""

    model: str = option(help="causal language model to start from (folder or hub name), or a PRM to train on")
    data: str = option(help="training rows: .jsonl or .parquet")
    out: str = option(help="folder for the trained model and its checkpoints")
    eval: str | None = option(None, help="held-out rows: .jsonl or .parquet")
    loss: str = option("pair", help="loss", choices=("pair", "vocab", "head", "beta_binomial"))
    target: str = option("auto", help="target; auto is er for rows with counts, else labels",
                         choices=("auto", "er", "soft", "hard", "outcome", "labels"))
    eta: float = option(2.0, help="inverse temperature of the er target; any finite number")
    estimator: str = option("plug-in", help="estimator of the er target",
                            choices=ESTIMATORS)
    threshold: float = option(0.0, help="the hard target is 1 where k/n is above")
    concentration: float = option(8.0, help="concentration of the beta_binomial loss")
    max_length: int = option(512, help="most tokens of a row")
    too_long: str = option("cut", help="what becomes of a longer row", choices=("cut", "drop"))
    strict: bool = option(False, help="a row that would be dropped is an error")
    layout: str = option("auto", help="how rows are put into batches", choices=("auto", "padded", "packed", "shared"))
    tag: str = option(" ки", help="token behind each step")
    plus: str = option(" +", help="token of a good step")
    minus: str = option(" -", help="token of a bad step")
    epochs: float = option(1.0, help="passes over the rows")
    max_steps: int = option(-1, help="optimiser steps; overrides --epochs when positive")
    batch_size: int = option(16, help="rows in a micro-batch of one process")
    accumulation: int = option(1, help="micro-batches in an optimiser step")
    learning_rate: float = option(1e-6, help="peak learning rate")
    schedule: str = option("cosine", help="learning-rate schedule (a name that transformers knows)")
    warmup: float = option(0.03, help="share of steps (below 1) or steps of warm-up")
    weight_decay: float = option(0.0, help="weight decay")
    dtype: str = option("float32", help="dtype of the weights", choices=("float32", "bfloat16"))
    bf16: bool = option(False, help="bf16 mixed precision")
    gradient_checkpointing: bool = option(False, help="recompute activations in the backward pass")
    compile: bool = option(False, help="torch.compile")
    lora_rank: int = option(0, help="train LoRA adapters of this rank and merge them at the end; 0 trains all weights")
    fsdp: bool = option(False, help="shard over the processes with FSDP2")
    deepspeed: str | None = option(None, help="DeepSpeed configuration file")
    evaluations: int = option(4, help="evaluations over the run, with --eval")
    patience: int = option(0, help="stop after so many evaluations without a better step AUC; 0 never")
    save_steps: int = option(500, help="optimiser steps between checkpoints")
    report_to: str = option("none", help="tracker: none, tensorboard, wandb, ...")
    seed: int = option(0, help="seed of order and initialisation")
    dry_run: bool = option(False, help="read and report the data, print the plan, train nothing")


def run(config: Config) -> None:
    """Train and save; prints where."""
    from transformers.trainer_utils import get_last_checkpoint

    from erprm.prm.training.trainer import PRMTrainer

    for name in ("data", "eval"):
        path = getattr(config, name)
        if path is not None and not Path(path).is_file():
            raise InputError(f"{name}: {path}: no such file")
    trainer = PRMTrainer(config.model, arguments(config), config.data, config.eval,
                         peft_config=_adapters(config), model_options={"dtype": config.dtype})
    if config.dry_run:
        loader = trainer.get_train_dataloader()
        print(f"would train {len(loader)} micro-batches per epoch and write {config.out}")
        return
    checkpoint = get_last_checkpoint(config.out) if Path(config.out).is_dir() else None
    trainer.train(resume_from_checkpoint=checkpoint)
    if config.eval is not None:
        metrics = trainer.evaluate()
        if trainer.is_world_process_zero():
            path = Path(config.out) / "metrics.json"
            beside = path.with_suffix(".tmp")
            beside.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
            beside.replace(path)
    trainer.save_merged(config.out)
    if trainer.is_world_process_zero():
        print(f"wrote {config.out}")


def arguments(config: Config) -> Any:
    """The `PRMConfig` that the options stand for."""
    from erprm.prm.training.config import PRMConfig

    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": config.save_steps}
    if config.fsdp:
        options["fsdp"] = True
        options["fsdp_config"] = {"fsdp_version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                                  "state_dict_type": "FULL_STATE_DICT"}
    if config.eval is not None:
        options["eval_strategy"], options["eval_steps"] = "steps", 1.0 / max(config.evaluations, 1)
        if config.patience > 0:  # the best model is a saved one
            options["save_steps"] = options["eval_steps"]
    return PRMConfig(
        output_dir=config.out, loss=config.loss, target=config.target, eta=config.eta, estimator=config.estimator,
        threshold=config.threshold, concentration=config.concentration, max_length=config.max_length,
        too_long=config.too_long, strict=config.strict, layout=config.layout, tag=config.tag, plus=config.plus,
        minus=config.minus, num_train_epochs=config.epochs, max_steps=config.max_steps,
        per_device_train_batch_size=config.batch_size, per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation, learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule, warmup_steps=config.warmup, weight_decay=config.weight_decay,
        bf16=config.bf16, gradient_checkpointing=config.gradient_checkpointing, torch_compile=config.compile,
        early_stopping_patience=config.patience, save_total_limit=2, logging_steps=10, deepspeed=config.deepspeed,
        report_to=config.report_to, seed=config.seed, **options)


def _adapters(config: Config) -> Any:
    if config.lora_rank == 0:
        return None
    peft = import_extra("peft", "peft")
    return peft.LoraConfig(r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules="all-linear")
