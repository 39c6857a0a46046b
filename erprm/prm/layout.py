"""Which layout pays: what shared prefixes would save and cost, estimated on the data.

    choose_layout("auto", "cuda", dataset, model.config, step_rows=64)      # "shared", "packed" or "padded"
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedConfig

from erprm._core import pack_rows, prefix_tree
from erprm.prm.data import EncodedDataset

WORTH_SHARING = 0.2  # share of work saved from which grouping the rows by problem pays
_SAMPLE = 64  # problems that the estimate looks at
_DENSE_COST = 8.0  # a pair of a dense masked attention on a CPU costs as much as so many in a matrix product


@dataclass(frozen=True, slots=True)
class Sharing:
    """Of a sample of problems: tokens of their rows and distinct ones in their trees, and attended pairs of both."""

    tokens: int
    distinct: int
    row_pairs: int
    tree_pairs: int

    @property
    def saving(self) -> float:
        """The share of tokens that needn't be computed."""
        return 1.0 - self.distinct / self.tokens


def choose_layout(wanted: str, device: str, dataset: EncodedDataset | None, config: PreTrainedConfig, step_rows: int,
                  ) -> str:
    """`wanted`, or what "auto" stands for.

    Sharing puts the rows of a problem into one optimiser step, so "auto" asks for steps of several problems; and on a
    CPU, where a tree's attention is a dense square, that the model is wide enough for the saved tokens to outweigh it.
    """
    if wanted != "auto":
        return wanted
    separate = "packed" if device == "cuda" else "padded"
    if dataset is None or step_rows < 4 * len(dataset) / len(np.unique(dataset.problems)):
        return separate
    found = sharing(dataset)
    saving = found.saving if device == "cuda" else _saving_on_cpu(found, config)
    return "shared" if saving >= WORTH_SHARING else separate


def sharing(dataset: EncodedDataset, seed: int = 0) -> Sharing:
    """What the prefix trees of a sample of problems save."""
    chosen = np.random.default_rng(seed).permutation(np.unique(dataset.problems))[:_SAMPLE]
    tokens = distinct = row_pairs = tree_pairs = 0
    for problem in chosen:
        rows = np.flatnonzero(dataset.problems == problem)
        ids, _, offsets, _ = pack_rows(dataset.ids, dataset.row_offsets, dataset.tags, dataset.step_offsets, rows)
        size = len(prefix_tree(ids, offsets.astype(np.int64))["input_ids"])
        tokens, distinct = tokens + len(ids), distinct + size
        row_pairs, tree_pairs = row_pairs + int((dataset.lengths[rows] ** 2).sum()), tree_pairs + size * size
    return Sharing(tokens, distinct, row_pairs, tree_pairs)


def _saving_on_cpu(found: Sharing, config: PreTrainedConfig) -> float:
    """The share of arithmetic saved: projections and MLP per token, attention per pair."""
    width = int(config.hidden_size)
    per_token = 2.0 * (4 * width**2 + 3 * width * getattr(config, "intermediate_size", 4 * width))
    per_pair = 4.0 * width * _DENSE_COST
    shared = found.distinct * per_token + found.tree_pairs * per_pair
    separate = found.tokens * per_token + found.row_pairs * per_pair
    return float(1.0 - shared / separate)
