"""What a batch carries of its steps for the loss to learn from: targets, or the counts or rewards they follow from.

    learnt = choose_learnt(dataset, target, loss="pair")                # "counts": the kernel works V_eta out itself
    gather = LEARNT[learnt](dataset, target)
    gather(steps)                                                       # {"successes": [M], "trials": [M]}

Steps that share a tag (shared prefixes) are one place of the loss: it is linear in the target, so that the sum of their
weights (their number, where rows have none) and the mean of their targets give exactly the sum of their losses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.prm.spec import LOSSES
from erprm.prm.training.dataset import EncodedDataset, Ints, ranges
from erprm.values.spec import TargetSpec

Arrays = dict[str, npt.NDArray[Any]]
Gather = Callable[[Ints], Arrays]


def choose_learnt(dataset: EncodedDataset, target: TargetSpec, loss: str) -> str:
    """Which of `LEARNT` batches carry for a loss: the plug-in estimate of V_eta is what the kernels compute."""
    if LOSSES[loss].counts:
        return "draws"
    if LOSSES[loss].vocabulary or target.kind != "er" or target.estimator != "plug-in":
        return "targets"
    ends = dataset.outcomes[dataset.ends]
    return "counts" if not dataset.steps.graded.any() and bool(np.isin(ends, (0.0, 1.0)).all()) else "rewards"


def labelled_steps(batch: Mapping[str, Any]) -> float:
    """How many steps a batch learns from, each as often as its row's weight says."""
    if "weights" in batch:
        return float(batch["weights"].double().sum())
    if "tag_of_step" in batch:
        return len(batch["tag_of_step"])
    return len(batch["offsets"]) - 1 if "offsets" in batch else len(batch.get("successes", batch.get("labels")))


def combine(learnt: Arrays, places: Ints, targets: Callable[[], Arrays] | None) -> Arrays:
    """What is learnt at each of U tags from what is learnt of the M steps that stand there.

    Args:
        learnt: of the steps; with `weights` [M] where rows have them.
        places: [M] the tag of each step, 0 .. U - 1, none left out.
        targets: the targets of the steps, for counts that differ at a tag, and for rewards; None for the Beta-binomial
            loss, which has none.

    Returns:
        Arrays of U entries with `weights`; counts of the Beta-binomial loss, which isn't linear in them, as they are
        where they differ at a tag.
    """
    _, first = np.unique(places, return_index=True)
    of_steps = learnt.get("weights")
    weights = np.bincount(places, of_steps).astype(np.float32)
    if "successes" in learnt:
        alike = {name: values[first] for name, values in learnt.items() if name != "weights"}
        if all(np.array_equal(values[places], learnt[name]) for name, values in alike.items()):
            return alike | {"weights": weights}
    if targets is None:
        return learnt
    values = targets()["labels"].astype(np.float64)
    total = np.zeros((len(first), *values.shape[1:]))
    np.add.at(total, places, values if of_steps is None else (values.T * of_steps).T)
    return {"labels": (total.T / weights).T.astype(np.float32), "weights": weights}


def _targets(dataset: EncodedDataset, target: TargetSpec) -> Gather:
    values = dataset.target_values(target)
    return lambda steps: {"labels": values[steps].astype(np.float32)}


def _counts(dataset: EncodedDataset, target: TargetSpec) -> Gather:
    """k of n; the end of a finished solution has its outcome as one trial, for which V_eta is that outcome."""
    return _of_counts(*dataset.counts(ends=True))


def _draws(dataset: EncodedDataset, target: TargetSpec) -> Gather:
    """k of n as they were drawn."""
    return _of_counts(*dataset.counts())


def _of_counts(successes: npt.NDArray[np.int32], trials: npt.NDArray[np.int32]) -> Gather:
    return lambda steps: {"successes": successes[steps], "trials": trials[steps]}


def _rewards(dataset: EncodedDataset, target: TargetSpec) -> Gather:
    """The rewards of completions, counts written out; the end of a finished solution has its outcome alone."""
    values, offsets = dataset.completions()
    lengths = np.diff(offsets)
    return lambda steps: {"rewards": values[ranges(offsets[steps], lengths[steps])],
                          "offsets": np.concatenate([[0], np.cumsum(lengths[steps])])}


LEARNT: dict[str, Callable[[EncodedDataset, TargetSpec], Gather]] = {
    "targets": _targets, "counts": _counts, "draws": _draws, "rewards": _rewards}
