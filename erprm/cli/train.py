"""Train a process reward model on labelled rows.

The rows hold counts (`erprm label`) or labels; which target a step gets is chosen here, so the same rows train on any
eta. Before it trains, the command reports how many rows were read, kept, cut and dropped, and why.

    erprm train --model policy/ --data labels/rows.parquet --eval heldout.parquet --eta 2 --out runs/prm
    torchrun --nproc-per-node 8 -m erprm train --config recipes/8b.yaml       # several GPUs

--out receives a stock checkpoint (AutoModelForTokenClassification; a causal language model for the vocab loss), its
tokenizer and erprm.json, once training is finished. A stopped run goes on from its newest whole checkpoint when the
same command is called again; with other data, model or options it is refused, and a finished one is left alone
(run.json in --out tells them apart).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erprm.cli.config import option
from erprm.errors import InputError, MissingExtraError, import_extra
from erprm.files.json_files import write_json
from erprm.files.runs import RunFolder, run_folder, settings_of
from erprm.options import LARGEST_SEED
from erprm.prm.spec import FILE_NAME as SPEC_NAME
from erprm.prm.training.options import PRMOptions

if TYPE_CHECKING:
    from erprm.prm.training.config import PRMConfig

# Flags whose transformers name differs; all others of `Config` but those of _OWN are named as in `PRMConfig`.
ALIASES = {"out": "output_dir", "epochs": "num_train_epochs", "batch_size": "per_device_train_batch_size",
           "accumulation": "gradient_accumulation_steps", "schedule": "lr_scheduler_type", "warmup": "warmup_steps",
           "compile": "torch_compile"}
SCHEDULES = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup",
             "inverse_sqrt", "reduce_lr_on_plateau")  # those of transformers that need no further options
_OWN = {"model", "data", "eval", "dtype", "lora_rank", "fsdp", "evaluations", "dry_run"}


@dataclass
class Config(PRMOptions):
    """Options of `erprm train`."""

    model: str = option(help="causal language model to start from (folder or hub name), or a PRM to train on")
    data: str = option(help="training rows: .jsonl or .parquet")
    out: str = option(help="folder for the trained model and its checkpoints", writes="folder")
    eval: str | None = option(None, help="held-out rows: .jsonl or .parquet")
    epochs: float = option(1.0, help="passes over the rows", above=0)
    max_steps: int = option(-1, help="optimiser steps; overrides --epochs when positive", least=-1)
    batch_size: int = option(16, help="rows in a micro-batch of one process", least=1)
    accumulation: int = option(1, help="micro-batches in an optimiser step", least=1)
    learning_rate: float = option(1e-6, help="peak learning rate", least=0)
    schedule: str = option("cosine", help="learning-rate schedule", choices=SCHEDULES)
    warmup: float = option(0.03, help="share of steps (below 1) or steps of warm-up", least=0)
    weight_decay: float = option(0.0, help="weight decay", least=0)
    dtype: str = option("float32", help="dtype of the weights", choices=("float32", "bfloat16"))
    bf16: bool = option(False, help="bf16 mixed precision")
    gradient_checkpointing: bool = option(False, help="recompute activations in the backward pass")
    compile: bool = option(False, help="torch.compile")
    lora_rank: int = option(0, help="train LoRA adapters of this rank and merge them at the end; 0 trains all weights",
                            least=0)
    fsdp: bool = option(False, help="shard over the processes with FSDP2")
    deepspeed: str | None = option(None, help="DeepSpeed configuration file")
    evaluations: int = option(4, help="evaluations over the run, with --eval", least=1)
    save_steps: int = option(500, help="optimiser steps between checkpoints", least=1)
    report_to: str = option("none", help="tracker: none, tensorboard, wandb, ...")
    seed: int = option(0, help="seed of order and initialisation", least=0, most=LARGEST_SEED)
    dry_run: bool = option(False, help="read and report the data, print the plan, train nothing")


def run(config: Config) -> None:
    """Train and save; prints where."""
    _check(config)
    with _claimed(config) as folder:  # None in all processes but the first, and for a dry run
        if folder is not None and folder.finished and (Path(config.out) / SPEC_NAME).is_file():
            print(f"{config.out}: this run is finished; nothing to do")
            return
        _train(config, folder)


def _train(config: Config, folder: RunFolder | None) -> None:
    from erprm.prm.training.saving import checkpoints
    from erprm.prm.training.trainer import PRMTrainer

    if folder is not None:
        folder.check(started=bool(checkpoints(config.out)))
    trainer = PRMTrainer(config.model, arguments(config), config.data, config.eval,
                         peft_config=_adapters(config), model_options={"dtype": config.dtype})
    if config.dry_run:
        loader = trainer.get_train_dataloader()
        print(f"would train {len(loader)} micro-batches per epoch and write {config.out}")
        return
    if folder is not None:
        folder.begin()
    trainer.train(resume_from_checkpoint=True)
    if config.eval is not None:
        metrics = trainer.evaluate()
        if folder is not None:
            write_json(Path(config.out) / "metrics.json", metrics)
            # losses and evaluations by step
            write_json(Path(config.out) / "history.json", trainer.state.log_history, indent=None)
    trainer.save_merged(config.out)
    if folder is not None:
        folder.finish()
        print(f"wrote {config.out}")


def _check(config: Config) -> None:
    """What can be refused before anything is loaded."""
    from erprm.prm.training.inputs import rows_of

    for name in ("data", "eval", "deepspeed"):
        path = getattr(config, name)
        if path is not None and not Path(path).is_file():
            raise InputError(f"{name}: {path}: no such file")
    if config.deepspeed is not None:
        _check_deepspeed(config.deepspeed)
    for name in ("data", "eval"):
        path = getattr(config, name)
        if path is not None and next(rows_of(path), None) is None:
            raise InputError(f"{name}: {path}: expected at least one row, found none")
    if config.max_steps == 0:
        raise InputError("max_steps: expected -1 or at least 1, found 0")
    if config.early_stopping_patience > 0 and config.eval is None:
        raise InputError("patience: expected held-out rows (--eval) to stop by, found none")
    if Path(config.out).exists() and not Path(config.out).is_dir():
        raise InputError(f"out: {config.out}: expected a folder, found a file")


def _check_deepspeed(path: str) -> None:
    try:
        if not isinstance(json.loads(Path(path).read_text(encoding="utf-8")), dict):
            raise InputError(f"deepspeed: {path}: expected an object of JSON, found another value")
    except (ValueError, RecursionError) as error:
        raise InputError(f"deepspeed: {path}: expected an object of JSON, found {error}") from error
    if importlib.util.find_spec("deepspeed") is None:
        raise MissingExtraError("deepspeed is not installed; install it with: pip install deepspeed")


@contextlib.contextmanager
def _claimed(config: Config) -> Iterator[RunFolder | None]:
    """The run's folder, locked by the first process."""
    if config.dry_run or os.environ.get("RANK", "0") != "0":
        yield None
        return
    settings = settings_of(config, files=("model", "data", "eval", "deepspeed"), left_out=("save_steps",))
    with run_folder(config.out, settings | {"processes": int(os.environ.get("WORLD_SIZE", "1"))}) as folder:
        yield folder


def arguments(config: Config) -> PRMConfig:
    """The `PRMConfig` that the options stand for."""
    from erprm.prm.training.config import PRMConfig

    options: dict[str, Any] = {ALIASES.get(item.name, item.name): getattr(config, item.name)
                               for item in dataclasses.fields(config) if item.name not in _OWN}
    options |= {"save_strategy": "steps", "per_device_eval_batch_size": config.batch_size,
                "save_total_limit": 2, "logging_steps": 10}
    if config.fsdp:
        options["fsdp"] = True
        options["fsdp_config"] = {"fsdp_version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                                  "state_dict_type": "FULL_STATE_DICT"}
    if config.eval is not None:
        share = min(1.0 / config.evaluations, 1.0 - 1e-9)  # of all steps; transformers reads 1.0 as every single step
        options["eval_strategy"], options["eval_steps"] = "steps", share
        if config.early_stopping_patience > 0:  # the best model is a saved one
            options["save_steps"] = options["eval_steps"]
    return PRMConfig(**options)


def _adapters(config: Config) -> Any:
    if config.lora_rank == 0:
        return None
    peft = import_extra("peft", "peft")
    return peft.LoraConfig(r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules="all-linear")
