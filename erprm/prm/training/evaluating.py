"""Evaluation while training: every labelled step of the held-out rows scored once, in however many processes.

    class PRMTrainer(StepEvaluation): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from transformers import Trainer
from transformers.trainer_utils import EvalLoopOutput

from erprm.errors import InputError
from erprm.prm.training.batches import Collator
from erprm.prm.training.dataset import EncodedDataset
from erprm.selection.best_of_n import pool_accuracy
from erprm.statistics.calibration import step_metrics
from erprm.values import step_targets
from erprm.values.spec import TargetSpec, eta_name


class EvaluationBatches:
    """Iterates (batch, steps): tensors for the model, and which of the dataset's steps it scores."""

    def __init__(self, collator: Collator, batches: list[Any]) -> None:
        self.dataset, self._collator, self._batches = collator.dataset, collator, batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Any]]:
        return (self._collator.batch(rows) for rows in self._batches)


class StepEvaluation(Trainer):  # type: ignore[misc]
    """The evaluation of a trainer that encodes and collates rows, by the two methods that `PRMTrainer` gives."""

    layout: str
    target: TargetSpec

    def _encoded(self, source: Any, args: Any, target: TargetSpec) -> tuple[EncodedDataset, Any]:
        raise NotImplementedError

    def _collator(self, dataset: EncodedDataset, layout: str) -> Collator:
        raise NotImplementedError

    def get_eval_dataloader(self, eval_dataset: Any = None) -> EvaluationBatches:
        """This process's share of the evaluation batches."""
        chosen = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(chosen, str):
            chosen = self.eval_dataset[chosen]
        if chosen is None:
            raise InputError("eval_dataset: expected held-out rows, found none")
        dataset, _ = self._encoded(chosen, self.args, self.target)
        collator = self._collator(dataset, self.layout)
        order = np.argsort(dataset.lengths, kind="stable") if self.layout == "padded" else \
            np.argsort(dataset.problems, kind="stable")
        size = self.args.per_device_eval_batch_size
        batches = [order[begin: begin + size] for begin in range(0, len(order), size)]
        world, rank = self.args.world_size, self.args.process_index
        mine = batches[rank::world]
        if len(mine) < -(-len(batches) // world):  # every process runs as many forwards as the others
            mine.append(batches[0])
        return EvaluationBatches(collator, mine)

    def get_test_dataloader(self, test_dataset: Any) -> EvaluationBatches:
        """As for evaluation."""
        return self.get_eval_dataloader(test_dataset)

    def evaluation_loop(self, dataloader: EvaluationBatches, description: str, prediction_loss_only: bool | None = None,
                        ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval") -> EvalLoopOutput:
        """Score every labelled step once and measure (see `erprm.statistics.calibration.step_metrics`).

        Returns:
            predictions: scores [M] (with several etas [M, H]) of the dataset's steps, NaN where a step has no target;
            label_ids: the targets.
        """
        model = self._evaluation_model()
        model.eval()
        parts: list[tuple[Any, ...]] = []
        for batch, steps in dataloader:
            with torch.no_grad(), self.compute_loss_context_manager():
                output = model(**self._prepare_inputs(batch), num_items_in_batch=1.0)
            parts.append((steps, output["scores"].float().cpu().numpy(), float(output["loss"])))
        dataset = dataloader.dataset
        targets = dataset.target_values(self.target)
        scores = np.full(targets.shape, np.nan)
        losses: dict[int, float] = {}
        for steps, values, loss in self._from_every_process(parts):
            scores[steps] = values
            if len(steps):
                losses[int(steps.min())] = loss  # a batch that was run twice counts once
        metrics = self._measure(dataset, scores, targets, sum(losses.values()))
        return EvalLoopOutput(predictions=scores, label_ids=targets,
                              metrics={f"{metric_key_prefix}_{name}": value for name, value in metrics.items()},
                              num_samples=len(dataset))

    def _measure(self, dataset: EncodedDataset, scores: Any, targets: Any, loss: float) -> dict[str, float]:
        """With several etas each has its own figures, named by it; those without a name are their means."""
        by_eta = [_figures(dataset, *columns) for columns in zip(np.atleast_2d(scores.T), np.atleast_2d(targets.T),
                                                                 strict=True)]
        known = float(dataset.step_weights[~np.isnan(targets if targets.ndim == 1 else targets[:, 0])].sum())
        figures = {"loss": loss / known} | {name: float(np.mean([one[name] for one in by_eta])) for name in by_eta[0]}
        if len(by_eta) == 1:
            return figures
        rising = np.diff(scores[:, np.argsort(self.target.etas)], axis=1)  # V_eta rises with eta, so do good scores
        figures["eta_violations"] = float(np.mean(rising[~np.isnan(rising)] < 0))
        names = [f"eta_{eta_name(eta)}" for eta in self.target.etas]
        return figures | {f"{name}_{of_eta}": value for of_eta, one in zip(names, by_eta, strict=True)
                          for name, value in one.items()}

    def _evaluation_model(self) -> Any:
        """The model as the forward pass needs it, prepared for its device or shards when no training did that."""
        model: Any = self._wrap_model(self.model, training=False)
        if not self.accelerator._models and model is self.model:
            model = self.accelerator.prepare(model) if self.is_deepspeed_enabled or self.is_fsdp_enabled else \
                self.accelerator.prepare_model(model, evaluation_mode=True)
            if self.is_fsdp_enabled:
                self.model: Any = model
            if model is not self.model:
                self.model_wrapped = model
        return model

    def _from_every_process(self, parts: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        if self.args.world_size == 1:
            return parts
        from accelerate.utils import gather_object

        gathered: list[tuple[Any, ...]] = gather_object(parts)
        return gathered


def _figures(dataset: EncodedDataset, scores: Any, targets: Any) -> dict[str, float]:
    """Figures of the scores [M] of one eta against its targets [M]."""
    known = ~np.isnan(scores)
    if not known.any():
        raise InputError("eval_dataset: expected steps with a target, found none")
    counted = dataset.trials > 0
    chances = np.where(counted, dataset.successes / np.maximum(dataset.trials, 1), targets)
    graded = dataset.steps.graded
    chances[graded] = step_targets(dataset.steps, "soft")[graded]
    return {**step_metrics(scores[known], targets[known], chances[known]),
            **pool_accuracy(scores, dataset.step_offsets, dataset.outcomes, dataset.problems)}
