"""The step losses by name, over the kernels: hidden states and tag positions in, (loss, scores) out.

Labelled steps only: M tags with what is learnt there. The loss is the sum over them divided by `normalizer`, the number
of labelled steps in the whole optimiser step, so that micro-batches and ranks weigh every step alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from erprm import kernels
from erprm.kernels.counts_loss.reference import LEAST_KAPPA


@dataclass(frozen=True, slots=True)
class Learnt:
    """What is known at the M labelled tags of a batch: targets, or the counts or rewards that they follow from.

    Attributes:
        targets: [M], or [M, H] with several etas, float32 in [0, 1].
        successes, trials: [M] int32, the counts k and n.
        rewards, offsets: those of step m are rewards[offsets[m]:offsets[m + 1]], [R] in [0, 1] and [M + 1] int64.
        weights: [M] float32, how many steps stand at a tag, each by its row's weight; None for one each.
        normalizer: what the sum over steps is divided by: a number or a scalar tensor; None for the sum of weights.
    """

    targets: Tensor | None = None
    successes: Tensor | None = None
    trials: Tensor | None = None
    rewards: Tensor | None = None
    offsets: Tensor | None = None
    weights: Tensor | None = None
    normalizer: Tensor | float | None = None

    @property
    def places(self) -> int:
        """M; 0 where nothing is known, as in scoring."""
        if self.offsets is not None:
            return self.offsets.shape[0] - 1
        known = self.successes if self.targets is None else self.targets
        return 0 if known is None else known.shape[0]

    def scale(self, device: torch.device) -> dict[str, Any]:
        """The keyword arguments that every loss takes."""
        given = self.normalizer
        return {"weights": self.weights, "normalizer": given if given is None or isinstance(given, Tensor)
                else torch.full((), given, device=device)}


def pair_loss(hidden: Tensor, rows: Tensor, bias: Tensor | None, positions: Tensor, learnt: Learnt,
              etas: tuple[float, ...] = ()) -> tuple[Tensor, Tensor]:
    """Soft-target cross-entropy on the rows of the head.

    Args:
        hidden: [N, D].
        rows: [1 + H, D], row 0 for "-" and row h for the "+" of eta_h, as class ids stand on disk.
        bias: [1 + H] in the same order, or None.
        positions: [M] int64 into hidden.
        etas: H of them, needed with counts or rewards.

    Returns:
        The scalar loss and the scores [M, H] = P(+).
    """
    scale = learnt.scale(hidden.device)
    if learnt.targets is not None:
        return kernels.step_loss(hidden, rows, positions, targets=learnt.targets, bias=bias, **scale)
    return kernels.step_loss(hidden, rows, positions, successes=learnt.successes, trials=learnt.trials,
                             rewards=learnt.rewards, offsets=learnt.offsets, etas=etas, bias=bias, **scale)


def counts_loss(hidden: Tensor, rows: Tensor, bias: Tensor | None, positions: Tensor, learnt: Learnt,
                concentration: float | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Negative log-likelihood of (k, n) under Beta(mu s, (1 - mu) s); arguments as `pair_loss`.

    Args:
        concentration: s, for rows [2, D]; None where the third of rows [3, D] predicts it.

    Returns:
        The scalar loss and (mu, s), each [M].
    """
    if learnt.successes is None or learnt.trials is None:
        raise ValueError("learnt: the beta_binomial loss needs successes and trials, found none")
    return kernels.counts_loss(hidden, rows, positions, successes=learnt.successes, trials=learnt.trials,
                               concentration=concentration, bias=bias, **learnt.scale(hidden.device))


def vocabulary_loss(hidden: Tensor, lm_head: Tensor, label_ids: tuple[int, int], positions: Tensor,
                    learnt: Learnt) -> tuple[Tensor, Tensor]:
    """-v log p(+) - (1 - v) log p(-), softmax over the vocabulary.

    Args:
        lm_head: [V, D].
        label_ids: the ids of " +" and " -".

    Returns:
        The scalar loss and the scores [M] = p(+) / (p(+) + p(-)).
    """
    if learnt.targets is None:
        raise ValueError("learnt: the vocab loss needs targets, found none")
    return kernels.vocab_loss(hidden, lm_head, positions, targets=learnt.targets, label_ids=label_ids,
                              **learnt.scale(hidden.device))


def margins(hidden: Tensor, rows: Tensor, bias: Tensor | None, positions: Tensor) -> Tensor:
    """z [M, H] float32 = h (w_h - w_0) without a loss, of which the score is the sigmoid; arguments as `pair_loss`."""
    gathered = hidden.index_select(0, positions).float()
    logits = gathered @ rows.float().T
    if bias is not None:
        logits = logits + bias.float()
    return logits[:, 1:] - logits[:, :1]


def concentration_of(z: Tensor) -> Tensor:
    """The predicted concentration of the third row's margin."""
    return torch.nn.functional.softplus(z) + LEAST_KAPPA
