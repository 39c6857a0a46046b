"""Which layout pays: how much computing shared prefixes would save, measured on the data.

    choose_layout("auto", "cuda", dataset, step_rows=64)      # "shared", "packed" or "padded"
"""

from __future__ import annotations

import numpy as np

from erprm._core import pack_rows, prefix_tree
from erprm.prm.data import EncodedDataset

WORTH_SHARING = 0.2  # share of tokens saved from which the mask and the grouping of rows by problem pay
_SAMPLE = 64  # problems that the estimate looks at


def choose_layout(wanted: str, device: str, dataset: EncodedDataset | None, step_rows: int) -> str:
    """`wanted`, or what "auto" stands for.

    Sharing puts the rows of a problem into one optimiser step, so "auto" asks besides for steps of several problems.
    """
    if wanted != "auto":
        return wanted
    if dataset is not None:
        rows_per_problem = len(dataset) / len(np.unique(dataset.problems))
        if step_rows >= 4 * rows_per_problem and shared_saving(dataset) >= WORTH_SHARING:
            return "shared"
    return "packed" if device == "cuda" else "padded"


def shared_saving(dataset: EncodedDataset, seed: int = 0) -> float:
    """The share of tokens that needn't be computed when each problem's rows share their prefixes, from a sample."""
    problems = np.unique(dataset.problems)
    if len(problems) == len(dataset):
        return 0.0
    chosen = np.random.default_rng(seed).permutation(problems)[:_SAMPLE]
    total = distinct = 0
    for problem in chosen:
        rows = np.flatnonzero(dataset.problems == problem)
        ids, _, offsets, _ = pack_rows(dataset.ids, dataset.row_offsets, dataset.tags, dataset.step_offsets, rows)
        total += len(ids)
        distinct += len(prefix_tree(ids, offsets.astype(np.int64))["input_ids"])
    return 1.0 - distinct / total
