"""The Beta-binomial likelihood in plain PyTorch, with its derivatives in the mean's logit and in the concentration."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from erprm.kernels.head.reference import Forward, Rows, evaluate

LEAST_KAPPA = 1e-3


def beta_binomial_loss(z: Tensor, successes: Tensor, trials: Tensor, concentration: Tensor,
                       ) -> tuple[Tensor, Tensor, Tensor]:
    """-ln BetaBinomial(k | n, a = mu s, b = (1 - mu) s) at mu = sigmoid(z), and its derivatives in z and in s.

    With B(k + a, n - k + b) / B(a, b) = prod_{i<k} (a + i) prod_{j<n-k} (b + j) / prod_{t<n} (s + t), the factors
    i = 0 and j = 0 are taken through ln mu = -softplus(-z), so that mu may underflow. All arguments [M]; computed in
    float64.
    """
    s, z64 = concentration.to(torch.float64), z.to(torch.float64)
    k, n = successes.to(torch.float64), trials.to(torch.float64)
    failures = n - k
    small = torch.exp(-z64.abs())
    tail = small / (1 + small)
    mu = torch.where(z64 > 0, 1 - tail, tail)
    nu = torch.where(z64 > 0, tail, 1 - tail)
    log_mu = z64.clamp_max(0) - torch.log1p(small)
    log_nu = (-z64).clamp_max(0) - torch.log1p(small)

    def rising(count: Tensor, share: Tensor, log_share: Tensor) -> tuple[Tensor, Tensor]:
        """ln prod_{i<count} (share s + i), and share s times its derivative in (share s)."""
        start = share * s
        some = count > 0
        log = log_share + torch.log(s) + torch.lgamma(start + count) - torch.lgamma(start + 1)
        slope = 1 + start * (torch.digamma(start + count.clamp_min(1)) - torch.digamma(start + 1))
        return torch.where(some, log, 0.0), torch.where(some, slope, 0.0)

    log_up, slope_up = rising(k, mu, log_mu)
    log_down, slope_down = rising(failures, nu, log_nu)
    choose = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(failures + 1)
    loss = -(choose + log_up + log_down - (torch.lgamma(s + n) - torch.lgamma(s)))
    drawn = torch.digamma(s + n) - torch.digamma(s)
    # d(mu s)/dz = s mu nu and d(mu s)/ds = mu; each slope already holds its own factor s mu or s nu.
    slopes = mu * slope_down - nu * slope_up, drawn - (slope_up + slope_down) / s
    return loss.to(z.dtype), slopes[0].to(z.dtype), slopes[1].to(z.dtype)


def forward(rows: Rows, successes: Tensor, trials: Tensor, concentration: float | None) -> Forward:
    """Scores are mu [M, 1], or (mu, kappa) [M, 2] where the concentration is predicted (None)."""
    def fixed(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s = z.new_full(successes.shape, concentration or 0.0, dtype=torch.float64)
        loss, slope, _ = beta_binomial_loss(z[:, 0], successes, trials, s)
        return loss.unsqueeze(1), slope.unsqueeze(1), z.sigmoid()

    def predicted(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kappa = softplus(z[:, 1]) + LEAST_KAPPA
        loss, slope, slope_kappa = beta_binomial_loss(z[:, 0], successes, trials, kappa)
        return (loss.unsqueeze(1), torch.stack([slope, slope_kappa * z[:, 1].sigmoid()], dim=1),
                torch.stack([z[:, 0].sigmoid(), kappa], dim=1))

    return evaluate(rows, predicted if concentration is None else fixed, 1.0)
