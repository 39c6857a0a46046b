"""Which layout pays: what batches of this data would cost in each, counted from batches as the trainer would make them.

    choose_layout("auto", "cuda", dataset, model.config, step_rows=64, batch_rows=16)    # "shared", "packed", "padded"
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedConfig

from erprm._core import pack_rows, prefix_tree
from erprm.prm.training.batches import Collator
from erprm.prm.training.dataset import EncodedDataset
from erprm.prm.training.order import RowSampler
from erprm.values.spec import TargetSpec

# A saving from which "auto" shares: what it leaves out (building trees and masks; rows of a problem in one step, which
# makes a step's gradient noisier) has to be paid from it.
WORTH_SHARING = 0.2
PAIR_ON_CPU = 1.6  # an attended pair in FLOPs of a matrix product, mask or none (bench/attention_costs.py)
_SAMPLE = 64  # problems that the estimate looks at
_STEPS = 4  # optimiser steps whose batches are counted


@dataclass(frozen=True, slots=True)
class Sharing:
    """Of a sample of problems: tokens of their rows, and distinct ones in their trees."""

    tokens: int
    distinct: int

    @property
    def saving(self) -> float:
        """The share of tokens that needn't be computed."""
        return 1.0 - self.distinct / self.tokens


def choose_layout(wanted: str, device: str, dataset: EncodedDataset | None, config: PreTrainedConfig, step_rows: int,
                  batch_rows: int) -> str:
    """`wanted`, or what "auto" stands for.

    Sharing puts the rows of a problem into one optimiser step, so "auto" asks for steps of several problems. On a GPU,
    where attention skips what the mask hides, the saving is that of tokens. On a CPU a batch of trees is a rectangle
    under a dense mask; its places and pairs are counted on the first batches of both layouts.

    Args:
        step_rows: rows of an optimiser step; batch_rows: of a forward.
    """
    if wanted != "auto":
        return wanted
    separate = "packed" if device == "cuda" else "padded"
    if dataset is None or step_rows < 4 * len(dataset) / len(np.unique(dataset.problems)):
        return separate
    saving = sharing(dataset).saving if device == "cuda" else _saving_on_cpu(dataset, config, step_rows, batch_rows)
    return "shared" if saving >= WORTH_SHARING else separate


def group_rows(layout: str, step_rows: int) -> int:
    """Rows of one problem that a layout keeps together; 0 for none."""
    return step_rows // 4 if layout == "shared" else 0


def sharing(dataset: EncodedDataset, seed: int = 0) -> Sharing:
    """What the prefix trees of a sample of problems save."""
    chosen = np.random.default_rng(seed).permutation(np.unique(dataset.problems))[:_SAMPLE]
    tokens = distinct = 0
    for problem in chosen:
        rows = np.flatnonzero(dataset.problems == problem)
        ids, _, offsets, _ = pack_rows(dataset.ids, dataset.row_offsets, dataset.tags, dataset.step_offsets, rows)
        tokens, distinct = tokens + len(ids), distinct + len(prefix_tree(ids, offsets.astype(np.int64))["input_ids"])
    return Sharing(tokens, distinct)


def _saving_on_cpu(dataset: EncodedDataset, config: PreTrainedConfig, step_rows: int, batch_rows: int) -> float:
    """The share of time saved by trees over padded rows of like length."""
    per_row = {layout: _cost(dataset, config, layout, step_rows, batch_rows) for layout in ("padded", "shared")}
    return 1.0 - per_row["shared"] / per_row["padded"]


def _cost(dataset: EncodedDataset, config: PreTrainedConfig, layout: str, step_rows: int, batch_rows: int) -> float:
    """FLOPs per row of the first batches: projections and MLP per place, attention per pair of places."""
    width = int(config.hidden_size)
    per_place = 2.0 * (4 * width**2 + 3 * width * getattr(config, "intermediate_size", 4 * width))
    order = list(itertools.islice(RowSampler(dataset, step_rows, group_rows=group_rows(layout, step_rows)),
                                  _STEPS * step_rows))
    collator = Collator(dataset, TargetSpec("labels"), layout=layout)
    flops = 0.0
    for begin in range(0, len(order), batch_rows):
        ids = collator.batch(order[begin: begin + batch_rows], every_step=True)[0]["input_ids"]
        assert isinstance(ids, torch.Tensor)
        flops += ids.numel() * (per_place + 4.0 * width * PAIR_ON_CPU * ids.shape[1])
    return flops / len(order)
