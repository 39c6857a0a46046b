"""The step losses in plain PyTorch, with their derivative in z worked out once, stably, for every |z|.

With z = h . (w+ - w-) and e = exp(-|z|):

    loss = softplus(z) - v z = |z| (1 - v if z > 0 else v) + log1p(e)       no cancellation at z = 1e4, v near 1
    dz   = sigmoid(z) - v    = (1 - v) - e / (1 + e) if z > 0 else e / (1 + e) - v
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

LARGE_BYTES = 4 << 20  # from here on NumPy asks for large pages


def compute_dtype(hidden: Tensor) -> torch.dtype:
    """float64 for float64 inputs, float32 for all others."""
    return torch.float64 if hidden.dtype == torch.float64 else torch.float32


def no_autocast() -> AbstractContextManager[object]:
    """Keeps autocast from rounding inside an operation; costs nothing where it is off."""
    return torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext()


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor.to(dtype)`, without the cost of asking PyTorch where there is nothing to do."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def direction(head: Tensor, dtype: torch.dtype) -> Tensor:
    """w+ - w- of a [2, D] head (or the row of a [1, D] head), or the same of a bias [2] or [1], unrounded."""
    wide = cast(head, dtype)
    return torch.sub(*wide.unbind()) if head.shape[0] == 2 else wide[0]


def sigmoid_parts(z: Tensor) -> tuple[Tensor, Tensor]:
    """exp(-|z|) and sigmoid(-|z|)."""
    small = torch.exp(-z.abs())
    return small, small / (1 + small)


def binary_loss(z: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Soft-target cross-entropy of sigmoid(z) and its derivative in z; z and targets [M]."""
    size = z.abs()
    below = size.neg()
    positive = z > 0
    miss = torch.where(positive, 1 - targets, targets)
    loss = softplus(below).addcmul_(size, miss)  # log1p(exp(-|z|)) in one pass
    slope = miss.sub_(below.sigmoid_())
    return loss, torch.where(positive, slope, slope.neg())


def counts_loss(z: Tensor, successes: Tensor, trials: Tensor, concentration: float) -> tuple[Tensor, Tensor]:
    """-ln BetaBinomial(k | n, a = mu s, b = (1 - mu) s) at mu = sigmoid(z), and its derivative in z.

    With B(k + a, n - k + b) / B(a, b) = prod_{i<k} (a + i) prod_{j<n-k} (b + j) / prod_{t<n} (s + t), the factors
    i = 0 and j = 0 are taken through ln mu = -softplus(-z), so that mu may underflow. z, k, n: [M]; s: concentration.
    """
    s = torch.tensor(concentration, dtype=torch.float64)
    z64, k, n = z.to(torch.float64), successes.to(torch.float64), trials.to(torch.float64)
    failures = n - k
    small, tail = sigmoid_parts(z64)
    mu = torch.where(z64 > 0, 1 - tail, tail)
    nu = torch.where(z64 > 0, tail, 1 - tail)
    log_mu = z64.clamp_max(0) - torch.log1p(small)
    log_nu = (-z64).clamp_max(0) - torch.log1p(small)

    def rising(count: Tensor, share: Tensor, log_share: Tensor) -> tuple[Tensor, Tensor]:
        """ln prod_{i<count} (share s + i), and share times its derivative in (share s), times s."""
        start = share * s
        some = count > 0
        log = log_share + torch.log(s) + torch.lgamma(start + count) - torch.lgamma(start + 1)
        slope = 1 + start * (torch.digamma(start + count.clamp_min(1)) - torch.digamma(start + 1))
        return torch.where(some, log, 0.0), torch.where(some, slope, 0.0)

    log_up, slope_up = rising(k, mu, log_mu)
    log_down, slope_down = rising(failures, nu, log_nu)
    choose = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(failures + 1)
    loss = -(choose + log_up + log_down - (torch.lgamma(s + n) - torch.lgamma(s)))
    # d(mu s)/dz = s mu nu; each slope already holds its own factor s mu or s nu.
    return loss.to(z.dtype), (mu * slope_down - nu * slope_up).to(z.dtype)


def inverse_normalizer(weights: Tensor | None, rows: Tensor, normalizer: Tensor | None, value: float | None,
                       ) -> Tensor | float:
    """1 / normalizer: a number where it is known on the host, else a 0-d tensor of the dtype of `rows` [M, ...].

    The default normaliser is the sum of the weights [M], or the number of rows. A normaliser of 0 gives 0.
    """
    total = weights.sum() if normalizer is None and value is None and weights is not None else normalizer
    if total is None:
        count = rows.shape[0] if value is None else value
        return 1.0 / count if count else 0.0
    total = total.to(rows.dtype)
    return torch.where(total == 0, 0.0, 1.0 / total).to(rows.dtype)


def tagged(hidden: Tensor, positions: Tensor) -> Tensor:
    """The rows [M, D] at positions that increase strictly: `hidden` itself where every row is tagged."""
    return hidden if positions.shape[0] == hidden.shape[0] else hidden.index_select(0, positions)


def hidden_gradient(coefficients: Tensor, vector: Tensor, positions: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    """[rows, D]: coefficients[m] * vector at row positions[m], zero elsewhere."""
    gradient = cast(torch.outer(coefficients, vector), dtype)
    if gradient.shape[0] == rows:  # positions increase strictly, so every row is tagged
        return gradient
    return zeros(rows, vector.shape[0], dtype).index_copy_(0, positions, gradient)


def zeros(rows: int, width: int, dtype: torch.dtype) -> Tensor:
    """[rows, width] zeros on the CPU. Large ones come from NumPy, which asks the system for zeroed memory in large
    pages, where PyTorch writes zeros into small ones: several times as fast, and reading them later is too."""
    if rows * width * dtype.itemsize < LARGE_BYTES:
        return torch.zeros((rows, width), dtype=dtype)
    return torch.from_numpy(np.zeros((rows, width * dtype.itemsize), np.uint8)).view(dtype)
