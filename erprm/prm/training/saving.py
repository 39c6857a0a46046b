"""Checkpoints that are there whole or not at all, and weights that are numbers.

    class PRMTrainer(WholeCheckpoints): ...                         # what it saves is whole; it stops at a NaN loss
    newest, skipped = newest_whole("runs/prm")                      # where to go on; what was passed over, and why

A checkpoint is written into a temporary folder, synced and renamed; `whole.json` in it lists its files and their sizes.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME

from erprm.errors import InputError
from erprm.files.writing import remove_folder, written_folder

WHOLE = "whole.json"
_NAME = re.compile(r"checkpoint-(\d+)")


class WholeCheckpoints(Trainer):  # type: ignore[misc]
    """A base of trainers, put before others' (TRL's)."""

    _writing: Path | None = None
    _over = False

    def train(self, resume_from_checkpoint: str | bool | None = None, *arguments: Any, **options: Any) -> Any:
        """The Trainer's; `resume_from_checkpoint=True` goes on from the newest whole checkpoint, if there is one."""
        if resume_from_checkpoint is True:
            newest, skipped = newest_whole(self.args.output_dir)
            for fault in skipped:
                print(f"skipped {fault}", file=sys.stderr)
            resume_from_checkpoint = None if newest is None else str(newest)
        if resume_from_checkpoint:
            self.check_checkpoint(Path(resume_from_checkpoint))
            self._over = _had_stopped(Path(resume_from_checkpoint))
        return super().train(resume_from_checkpoint or None, *arguments, **options)

    def check_checkpoint(self, checkpoint: Path) -> None:
        """Raise InputError for a checkpoint that this trainer can't go on from."""

    def _run_epoch(self, *arguments: Any, **options: Any) -> None:
        """Not a step more where the checkpoint that is gone on with was the last one; the Trainer would take one."""
        if self._over or self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*arguments, **options)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """The Trainer's, but a loss that is no number ends the run.

        Raises:
            InputError: naming the step and what to try.
        """
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss).all():  # the Trainer looks at every loss anyway, to hide such a one from its log
            raise InputError(f"step {self.state.global_step + 1}: the loss is {loss.item()}; nothing of it was saved; "
                             "try a lower learning rate, a longer warm-up, a gradient norm limit or float32 weights")
        return loss

    @contextlib.contextmanager
    def written(self, folder: Path, last: str) -> Iterator[Path]:
        """`written_folder` for all processes of a run together.

        Raises:
            InputError: for weights that aren't finite.
            OSError: where the disk is full.
        """
        check_finite(self.accelerator.unwrap_model(self.model), f"step {self.state.global_step}")
        with contextlib.ExitStack() as stack:
            mine = stack.enter_context(written_folder(folder, last)) if self.args.should_save else None
            yield self._of_first_process(mine)
            self.accelerator.wait_for_everyone()  # all have written
        self.accelerator.wait_for_everyone()  # it is in its place

    def _of_first_process(self, path: Path | None) -> Path:
        if self.args.world_size == 1:
            assert path is not None
            return path
        from accelerate.utils import broadcast_object_list

        return Path(broadcast_object_list([path])[0])

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._writing or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        out, name = Path(self._get_output_dir(trial)), f"checkpoint-{self.state.global_step}"
        with self.written(out, last=name) as folder:
            self._writing = folder
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._writing = None
            if self.state.best_model_checkpoint == str(folder / name):
                self.state.best_model_checkpoint = str(out / name)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self.state.save_to_json(str(folder / name / TRAINER_STATE_NAME))
                seal(folder / name)
        if self.args.should_save:
            self._remove_surplus(out)

    def _remove_surplus(self, out: Path) -> None:
        limit = self.args.save_total_limit
        steps = sorted(checkpoints(out))
        kept = {self.state.best_model_checkpoint, str(out / f"checkpoint-{self.state.global_step}")}
        removable = [step for step in steps if str(out / f"checkpoint-{step}") not in kept]
        for step in removable[: max(len(steps) - limit, 0)] if limit else ():
            remove_folder(out / f"checkpoint-{step}")


def checkpoints(out: str | Path) -> list[int]:
    """The steps of the checkpoints in a folder, whole or not."""
    names = (_NAME.fullmatch(path.name) for path in Path(out).glob("checkpoint-*") if path.is_dir())
    return [int(match[1]) for match in names if match]


def newest_whole(out: str | Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint in a folder (None where there is none), and why each newer one is not whole."""
    skipped: list[str] = []
    for step in sorted(checkpoints(out), reverse=True):
        path = Path(out) / f"checkpoint-{step}"
        fault = _fault(path)
        if fault is None:
            return path, skipped
        skipped.append(f"{path}: {fault}")
    return None, skipped


def _had_stopped(checkpoint: Path) -> bool:
    """Whether training was over, by its steps or for want of progress, when the checkpoint was written."""
    state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    return bool(state["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"])


def seal(folder: Path) -> None:
    """Write the list of a finished checkpoint's files into it."""
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    (folder / WHOLE).write_text(json.dumps(sizes, indent=1) + "\n", encoding="utf-8")


def _fault(folder: Path) -> str | None:
    try:
        sizes = json.loads((folder / WHOLE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"no {WHOLE}, so it was not written to its end"
    except ValueError:
        return f"{WHOLE} is damaged"
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} bytes instead of {size:,}"
    return None


def check_finite(model: nn.Module, where: str) -> None:
    """Raise InputError when a weight is NaN or infinite, naming it."""
    for name, parameter in model.named_parameters():
        local = parameter.to_local() if hasattr(parameter, "to_local") else parameter
        if not torch.isfinite(local).all():
            raise InputError(f"{where}: the weight {name} holds NaN or infinite numbers; it is not trained on, nor "
                             "saved")
