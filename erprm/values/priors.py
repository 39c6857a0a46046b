"""Where success rates come from: their distribution over all prefixes, fitted to the counts.

    a, b = fit_prior(successes, trials)                              # a Beta distribution, for `soft_value`
    prior = fit_rates(successes, trials, depths)                     # one of any shape for each depth
    value = prior.soft_value(successes, trials, depths, eta=2.0)     # posterior mean of V_eta, [N]

Labelling a data set is thousands of small estimation problems of one kind, and what most of them have in common helps
with each (empirical Bayes, Robbins 1956). The success rates of the prefixes of a depth are draws from a distribution on
[0, 1] of any shape, an atom at 0 included: policies make mistakes that cannot be mended, and late prefixes succeed
nearly always or never, which no Beta distribution says. It is fitted by expectation-maximisation over a grid of rates
(the nonparametric maximum likelihood of Kiefer and Wolfowitz 1956, Laird 1978). By itself that ends in a few atoms, as
if only these rates were possible, so two things keep it modest: the masses between 0 and 1 are smoothed in every round
(Silverman et al. 1990), and pseudo-counts are added: one prefix, spread evenly, to the distribution over all depths,
and four, spread like that one, to the distribution of each depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.values.counts import JEFFREYS, Ints, check_counts, distinct
from erprm.values.soft import Array, soft_of_mean

_LOGITS = np.linspace(-8.0, 8.0, 129)
RATES: Array = np.concatenate([[0.0], 1.0 / (1.0 + np.exp(-_LOGITS)), [1.0]])
_EVENLY, _LIKE_ALL = 1.0, 4.0  # pseudo-counts, in prefixes
_BLUR = 0.3  # standard deviation of the smoothing, in logits
_ROUNDS, _SETTLED = 200, 1e-3  # of expectation-maximisation; settled: no mass moves by more, in prefixes


def fit_prior(successes: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[float, float]:
    """(a, b) of the Beta prior by maximum likelihood of beta-binomial counts over all prefixes.

    Returns:
        (a, b), each within [1e-3, 1e4]; the bounds are reached when all prefixes agree exactly.
    """
    from scipy.optimize import minimize
    from scipy.special import betaln, digamma

    k, n = check_counts(successes, trials)
    pairs, repeats = np.unique(np.stack([k.ravel(), n.ravel()]), axis=1, return_counts=True)
    k, n = pairs

    def loss(log_prior: Array) -> tuple[float, Array]:
        a, b = np.exp(log_prior)
        total = np.sum(repeats * (betaln(a + k, b + n - k) - betaln(a, b)))
        shared = digamma(a + b + n) - digamma(a + b)
        d_a = np.sum(repeats * (digamma(a + k) - digamma(a) - shared)) * a
        d_b = np.sum(repeats * (digamma(b + n - k) - digamma(b) - shared)) * b
        scale = repeats.sum()
        return -total / scale, -np.array([d_a, d_b]) / scale

    bounds = [(math.log(1e-3), math.log(1e4))] * 2
    found = minimize(loss, np.log(JEFFREYS), jac=True, method="L-BFGS-B", bounds=bounds,
                     options={"ftol": 1e-14, "gtol": 1e-10})
    a, b = np.exp(found.x)
    return float(a), float(b)


@dataclass(frozen=True)
class RatePrior:
    """Distributions of success rates.

    Attributes:
        depths: [G], increasing.
        masses: [G, cells], the probability of each of `RATES` at each depth; rows sum to 1.
    """

    depths: Ints
    masses: Array

    def __str__(self) -> str:
        of_each = ", ".join(f"{depth}: {mean:.2f} ({never:.0%} never)" for depth, mean, never in
                            zip(self.depths, self.masses @ RATES, self.masses[:, 0], strict=True))
        return f"means by depth {of_each}"

    def posterior(self, successes: npt.ArrayLike, trials: npt.ArrayLike, depths: npt.ArrayLike) -> Array:
        """The probability of each of `RATES` given k of n, [N, cells].

        Args:
            successes, trials: integers [N] with trials >= 1.
            depths: [N]; the nearest smaller depth that was fitted is taken for one that was not.
        """
        place = np.searchsorted(self.depths, np.asarray(depths), side="right") - 1
        return _posterior(_likelihood(successes, trials), self.masses[np.maximum(place, 0)])

    def soft_value(self, successes: npt.ArrayLike, trials: npt.ArrayLike, depths: npt.ArrayLike, eta: float) -> Array:
        """The posterior mean of V_eta, float64 [N], in [0, 1]."""
        pairs, inverse = distinct(successes, trials, depths)
        return (self.posterior(*pairs) @ soft_of_mean(RATES, eta))[inverse]


def fit_rates(successes: npt.ArrayLike, trials: npt.ArrayLike, depths: npt.ArrayLike) -> RatePrior:
    """The distributions of success rates behind counts.

    Args:
        successes, trials, depths: integers [N], N >= 1, trials >= 1.

    Raises:
        InputError: for counts out of order.
    """
    check_counts(successes, trials)
    (k, n, depth), inverse = distinct(successes, trials, depths)
    repeats = np.bincount(inverse, minlength=len(k)).astype(np.float64)
    likelihood = _likelihood(k, n)
    overall = _fit(likelihood, repeats, np.full(len(RATES), _EVENLY / len(RATES)))
    found = np.unique(depth)
    masses = [_fit(likelihood[depth == one], repeats[depth == one], _LIKE_ALL * overall) for one in found]
    return RatePrior(found, np.stack(masses))


def _likelihood(successes: npt.ArrayLike, trials: npt.ArrayLike) -> Array:
    """Of each of `RATES`, [N, cells], relative to the likeliest."""
    k = np.asarray(successes, np.float64)[:, None]
    failures = np.asarray(trials, np.float64)[:, None] - k
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 ln 0 = 0
        logs = np.where(k > 0, k * np.log(RATES), 0.0) + np.where(failures > 0, failures * np.log1p(-RATES), 0.0)
    return np.asarray(np.exp(logs - logs.max(1, keepdims=True)))


def _posterior(likelihood: Array, masses: Array) -> Array:
    joint = likelihood * masses
    return np.asarray(joint / joint.sum(1, keepdims=True))


def _smoothing() -> Array:
    """[cells, cells]; a column is where the mass of a rate goes. 0 and 1 keep theirs."""
    matrix = np.eye(len(RATES))
    near = np.exp(-0.5 * ((_LOGITS[:, None] - _LOGITS) / _BLUR) ** 2)
    matrix[1:-1, 1:-1] = near / near.sum(0)
    return matrix


_SMOOTHING = _smoothing()


def _fit(likelihood: Array, repeats: Array, pseudo: Array) -> Array:
    """Masses [cells] from likelihoods [U, cells] seen `repeats` times each."""
    total = repeats.sum() + pseudo.sum()
    masses = np.full(len(RATES), 1.0 / len(RATES))
    for _ in range(_ROUNDS):
        counted = masses * ((repeats / (likelihood @ masses)) @ likelihood)  # posteriors summed over prefixes
        updated = _SMOOTHING @ (counted + pseudo) / total
        moved = float(np.abs(updated - masses).max()) * total
        masses = updated
        if moved < _SETTLED:
            break
    return masses
