"""What each process runs in test_distributed.py: `torchrun processes.py FOLDER`, results in FOLDER."""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import tiny
import torch
from prm.rows_of_steps import rows
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from erprm.demo.policy import demonstrations, write_untrained
from erprm.grading import GraderPool
from erprm.prm.training.config import PRMConfig
from erprm.prm.training.trainer import PRMTrainer
from erprm.problems.tasks import TASKS
from erprm.rows import StepRow, read_rows, write_rows

Data = tuple[PreTrainedModel, PreTrainedTokenizerFast, list[StepRow], list[StepRow]]
STEP = {"optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant", "max_steps": 2, "max_grad_norm": 0.0}
LEARN = {"learning_rate": 3e-3, "num_train_epochs": 3, "target": "outcome"}
FSDP = {"fsdp": True, "fsdp_config": {"fsdp_version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                                      "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
                                      "state_dict_type": "FULL_STATE_DICT"}}


def plain() -> Data:
    """A tiny model and rows whose text says which step is right."""
    return tiny.llama(), tiny.tokenizer(), rows(16, 4), rows(5, 4, seed=1)


def of_the_demo(folder: Path) -> Data:
    """The demo's untrained model and its graded demonstrations, as `write_demo` left them, split by problem."""
    made = list(read_rows(folder / "rows.jsonl"))
    held_out = [row for row in made if hash_of(row) % 4 == 0]
    return (AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder),
            [row for row in made if hash_of(row) % 4][: 12 * 16], held_out)  # whole steps of 16 rows


def hash_of(row: StepRow) -> int:
    """Equal for rows of one problem."""
    return int(str(row.problem_id).rsplit("-", 1)[1])


def write_demo(folder: Path) -> None:
    """What `of_the_demo` reads: demonstrations of the demo's task, which often lose their way, graded."""
    task = TASKS["countdown"]
    write_untrained(folder, task, seed=0, hidden=64, layers=2)
    problems = task.splits({"label": 48}, seed=0)["label"]
    by_id = {problem.id: problem for problem in problems}
    written = list(demonstrations(task, problems, 6, 0.5, seed=0))
    with GraderPool(workers=1) as pool:
        right = pool.grade_many([("\n".join(row.steps), by_id[str(row.problem_id)]) for row in written])
    write_rows(folder / "rows.jsonl", (dataclasses.replace(row, outcome=float(bool(grade)), finished=True)
                                       for row, grade in zip(written, right, strict=True)))


def train(folder: Path, name: str, data: Data, rows_per_batch: int, micro_batches: int, **options: Any) -> None:
    """One run; its weights, loss and held-out metrics go to FOLDER/name."""
    model, tokenizer, training, held_out = data
    args = PRMConfig(str(folder / name), per_device_train_batch_size=rows_per_batch, report_to="none", use_cpu=True,
                     gradient_accumulation_steps=micro_batches, disable_tqdm=True, save_strategy="no",
                     logging_steps=1, **options)
    run = PRMTrainer(model, args, training, held_out, processing_class=tokenizer)
    run.train()
    loss = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    metrics = run.evaluate()
    run.save_model(str(folder / name))
    if run.is_world_process_zero():
        (folder / name / "result.json").write_text(json.dumps({"loss": loss, **metrics}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        write_demo(target / "demo")
        train(target, "one-by-four", plain(), 4, 4, **STEP)
        train(target, "at-once", plain(), 16, 1, **STEP)
        train(target, "one-vocab", plain(), 16, 1, loss="vocab", **STEP)
        train(target, "one-learns", of_the_demo(target / "demo"), 16, 1, **LEARN)
    elif processes == 4:
        train(target, "fsdp-four", plain(), 4, 1, **STEP, **FSDP)
    else:
        train(target, "two-by-two", plain(), 4, 2, **STEP)
        train(target, "two-shared", plain(), 4, 2, layout="shared", **STEP)
        train(target, "fsdp-vocab", plain(), 8, 1, loss="vocab", **STEP, **FSDP)
        train(target, "fsdp-learns", of_the_demo(target / "demo"), 8, 1, **LEARN, **FSDP)
