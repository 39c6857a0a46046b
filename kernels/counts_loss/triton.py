"""The Beta-binomial likelihood on the GPU: what is learnt, as the kernels of `erprm.kernels.head` take it."""

from torch import Tensor

from erprm.kernels.head import triton as head
from erprm.kernels.head.reference import Forward, Rows


def forward(rows: Rows, successes: Tensor, trials: Tensor, concentration: float | None) -> Forward:
    """As `reference.forward`."""
    numbers = () if concentration is None else (concentration,)
    return head.forward(rows, head.Learnt(head.LIKELIHOOD, successes, trials, numbers))
