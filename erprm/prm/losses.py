"""The step losses by name, over the kernels: hidden states and tag positions in, (loss, scores) out.

Labelled steps only: M tags with their targets. The loss is the sum over them divided by `normalizer`, the number of
labelled steps in the whole optimiser step, so that micro-batches and ranks weigh every step alike (MATH: step loss).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from erprm import kernels


@dataclass(frozen=True, slots=True)
class StepTargets:
    """What is known at the M labelled tags of a batch.

    Attributes:
        values: [M] float32 in [0, 1], the targets.
        successes, trials: [M] int32, the counts k and n; needed by the Beta-binomial loss only.
        normalizer: what the sum over steps is divided by: a number or a scalar tensor; None for M.
    """

    values: Tensor
    successes: Tensor | None = None
    trials: Tensor | None = None
    normalizer: Tensor | float | None = None


def pair_loss(hidden: Tensor, rows: Tensor, bias: Tensor | None, positions: Tensor, targets: StepTargets,
              ) -> tuple[Tensor, Tensor]:
    """Soft-target cross-entropy on the two rows of the head.

    Args:
        hidden: [N, D].
        rows: [2, D], row 0 for "-" and row 1 for "+", as class ids stand on disk.
        bias: [2] in the same order, or None.
        positions: [M] int64 into hidden.

    Returns:
        The scalar loss and the scores [M] = P(+).
    """
    loss, scores = kernels.step_loss(hidden, rows, positions, targets=targets.values, bias=bias,
                                     normalizer=_normalizer(targets, hidden.device))
    return loss, scores[:, 0]


def counts_loss(hidden: Tensor, rows: Tensor, bias: Tensor | None, positions: Tensor, targets: StepTargets,
                concentration: float) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of (k, n) under Beta(mu s, (1 - mu) s), s = `concentration`; arguments as `pair_loss`."""
    if targets.successes is None or targets.trials is None:
        raise ValueError("targets: the beta_binomial loss needs successes and trials, found targets only")
    loss, (scores, _) = kernels.counts_loss(hidden, rows, positions, successes=targets.successes, trials=targets.trials,
                                            concentration=concentration, bias=bias,
                                            normalizer=_normalizer(targets, hidden.device))
    return loss, scores


def vocabulary_loss(hidden: Tensor, lm_head: Tensor, label_ids: tuple[int, int], positions: Tensor,
                    targets: StepTargets) -> tuple[Tensor, Tensor]:
    """-v log p(+) - (1 - v) log p(-), softmax over the vocabulary.

    Args:
        lm_head: [V, D].
        label_ids: the ids of " +" and " -".

    Returns:
        The scalar loss and the scores [M] = p(+) / (p(+) + p(-)).
    """
    return kernels.vocab_loss(hidden, lm_head, positions, targets=targets.values, label_ids=label_ids,
                              normalizer=_normalizer(targets, hidden.device))


def _normalizer(targets: StepTargets, device: torch.device) -> Tensor | None:
    """The normaliser as a 0-d tensor on the device."""
    given = targets.normalizer
    return given if given is None or isinstance(given, Tensor) else torch.full((), given, device=device)


def pair_scores(hidden: Tensor, rows: Tensor, bias: Tensor | None, positions: Tensor) -> Tensor:
    """Scores [M] float32 = sigmoid(h (w+ - w-)) without a loss; arguments as `pair_loss`."""
    gathered = hidden.index_select(0, positions).float()
    logits = gathered @ rows.float().T
    if bias is not None:
        logits = logits + bias.float()
    return torch.sigmoid(logits[:, 1] - logits[:, 0])
