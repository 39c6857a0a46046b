"""What each of two processes runs in test_distributed.py: `torchrun two_processes.py FOLDER`, results in FOLDER."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import tiny
import torch
from prm.rows_of_steps import rows

from erprm.prm.config import PRMConfig
from erprm.prm.trainer import PRMTrainer

TRAIN, HELD_OUT = rows(16, 4), rows(5, 4, seed=1)
STEP = {"optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant", "max_steps": 2, "max_grad_norm": 0.0}
LEARN = {"learning_rate": 3e-3, "num_train_epochs": 6}
FSDP = {"fsdp": True, "fsdp_config": {"fsdp_version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                                      "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
                                      "state_dict_type": "FULL_STATE_DICT"}}


def train(folder: Path, name: str, rows_per_batch: int, micro_batches: int, **options: Any) -> None:
    """One run; its weights, loss and held-out metrics go to FOLDER/name."""
    args = PRMConfig(str(folder / name), per_device_train_batch_size=rows_per_batch, report_to="none", use_cpu=True,
                     gradient_accumulation_steps=micro_batches, disable_tqdm=True, save_strategy="no",
                     logging_steps=1, **options)
    run = PRMTrainer(tiny.llama(), args, TRAIN, HELD_OUT, processing_class=tiny.tokenizer())
    run.train()
    loss = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    metrics = run.evaluate()
    run.save_model(str(folder / name))
    if run.is_world_process_zero():
        (folder / name / "result.json").write_text(json.dumps({"loss": loss, **metrics}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        train(target, "one-by-four", 4, 4, **STEP)
        train(target, "at-once", 16, 1, **STEP)
        train(target, "one-learns", 16, 1, **LEARN)
    else:
        train(target, "two-by-two", 4, 2, **STEP)
        train(target, "two-shared", 4, 2, layout="shared", **STEP)
        train(target, "fsdp-learns", 8, 1, **LEARN, **FSDP)
