"""Counts into the soft value: estimators of V_eta, and its interval.

    soft_value([0, 3, 16], [16, 16, 16], eta=2.0)                         # plug-in: g(k/n)
    soft_value([0, 3, 16], [16, 16, 16], eta=2.0, estimator="beta")       # posterior mean of g(p)
    low, high = interval([0, 3, 16], [16, 16, 16], eta=2.0, level=0.9)

docs/theory.md derives the formulas and gives the bias and error of each estimator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.values.counts import JEFFREYS, check_counts, distinct
from erprm.values.priors import RatePrior, fit_prior, fit_rates
from erprm.values.soft import SERIES, SHIFT, Array, check_eta, soft_of_mean

Prior = tuple[float, float] | RatePrior
_LEAST = 1e-9  # of a Beta parameter, where the mean rounds to 0 or 1


def soft_value(successes: npt.ArrayLike, trials: npt.ArrayLike, eta: float, estimator: str = "plug-in",
               prior: Prior = JEFFREYS, *, depths: npt.ArrayLike = 1,
               clip: bool = False) -> Array:
    """V_eta estimated from counts.

    Args:
        successes: integers k, any shape.
        trials: integers n >= 1, broadcast against `successes`.
        eta: inverse temperature, any finite number.
        estimator: "plug-in" g(k/n); "jackknife" (Quenouille's, unbiased to second order); "delta" (plug-in plus the
            second-order bias term); "beta" and "empirical-bayes", the posterior mean of g(p) under the prior. With one
            trial the jackknife and the delta method have nothing to correct with and equal the plug-in.
        prior: for "beta" (a, b) of the Beta distribution, Jeffreys' by default, `fit_prior` learns one; for
            "empirical-bayes" what `fit_rates` learns.
        depths: steps in each prefix, for "empirical-bayes"; broadcast against the counts.
        clip: cut the estimate to [0, 1], where V_eta lies. Jackknife and delta can leave it, and clipping brings
            back some of the bias that they remove, so it is off; `targets` turns it on.

    Returns:
        float64 in the broadcast shape.

    Raises:
        InputError: for counts that are no integers or out of order, trials = 0, eta not finite, an unknown estimator.
    """
    k, n = check_counts(successes, trials)
    check_eta(eta)
    if estimator not in ESTIMATORS:
        raise InputError(f"estimator: expected one of {', '.join(ESTIMATORS)}, found {estimator!r}")
    value = ESTIMATORS[estimator].value(k, n, np.broadcast_to(depths, k.shape), eta, prior)
    return np.clip(value, 0.0, 1.0) if clip else value


def interval(successes: npt.ArrayLike, trials: npt.ArrayLike, eta: float, level: float = 0.9,
             prior: tuple[float, float] = JEFFREYS) -> tuple[Array, Array]:
    """The equal-tailed posterior interval of V_eta: g_eta of the Beta quantiles, exact because g_eta is increasing.

    Args:
        level: the probability inside, between 0 and 1.
        prior: (a, b) of the Beta prior.

    Returns:
        (low, high), float64, in the broadcast shape of the counts.

    Raises:
        InputError: as `soft_value`, or for a level outside (0, 1).
    """
    from scipy.special import betaincinv

    k, n = check_counts(successes, trials)
    check_eta(eta)
    a, b = _check_prior(prior)
    if not 0.0 < level < 1.0:
        raise InputError(f"level: expected a number between 0 and 1, found {level}")
    tail = 0.5 * (1.0 - level)
    low, high = betaincinv(a + k, b + n - k, tail), 1.0 - betaincinv(b + n - k, a + k, tail)
    return soft_of_mean(low, eta), soft_of_mean(high, eta)


def beta_interval(mean: npt.ArrayLike, concentration: npt.ArrayLike, level: float = 0.9) -> tuple[Array, Array]:
    """The equal-tailed interval of a success rate p ~ Beta(mu s, (1 - mu) s); of V_eta it is g_eta of the ends.

    Args:
        mean: mu in [0, 1].
        concentration: s > 0, in completions; broadcast against `mean`.
        level: the probability inside, between 0 and 1.

    Returns:
        (low, high), float64.
    """
    from scipy.special import betaincinv

    mu, s = np.broadcast_arrays(np.asarray(mean, np.float64), np.asarray(concentration, np.float64))
    a, b = np.maximum(mu * s, _LEAST), np.maximum((1.0 - mu) * s, _LEAST)
    tail = 0.5 * (1.0 - level)
    return betaincinv(a, b, tail), 1.0 - betaincinv(b, a, tail)


def _plug_in(k: Array, n: Array, eta: float) -> Array:
    return soft_of_mean(k / n, eta)


def _jackknife(k: Array, n: Array, eta: float) -> Array:
    rest = np.maximum(n - 1.0, 1.0)
    without_success = soft_of_mean(np.clip((k - 1.0) / rest, 0.0, 1.0), eta)  # weighs nothing at k = 0
    without_failure = soft_of_mean(np.clip(k / rest, 0.0, 1.0), eta)  # weighs nothing at k = n
    left_out = (k * without_success + (n - k) * without_failure) / n
    plug_in = _plug_in(k, n, eta)
    # n g - (n-1) left_out, written so that g of a constant comes back exactly.
    return np.asarray(plug_in + np.where(n > 1, (n - 1.0) * (plug_in - left_out), 0.0))


def _delta(k: Array, n: Array, eta: float) -> Array:
    p = k / n
    mixed = (k > 0) & (k < n)
    # c / (1 + c p) with c = expm1(eta), multiplied through by exp(-eta) for eta > 0 so that nothing overflows.
    shrink = math.exp(-abs(eta))
    numerator = -math.expm1(-abs(eta)) * (1.0 if eta > 0 else -1.0)
    denominator = p + (1.0 - p) * shrink if eta > 0 else 1.0 - p + p * shrink
    slope = np.where(mixed, numerator / np.where(mixed, denominator, 1.0), 0.0)
    over_eta = slope * slope / eta if abs(eta) >= SERIES else eta * np.ones_like(p)
    correction = over_eta * p * (1.0 - p) / (2.0 * np.maximum(n - 1.0, 1.0))
    return np.asarray(_plug_in(k, n, eta) + np.where(mixed, correction, 0.0))


def _posterior_mean(k: Array, n: Array, eta: float, given: Prior) -> Array:
    """E[g(p)] for p ~ Beta(a + k, b + n - k), once per distinct (k, n)."""
    prior = _check_prior(given)
    if eta == 0.0:
        return np.asarray((prior[0] + k) / (prior[0] + prior[1] + n))
    pairs, inverse = distinct(k.ravel(), n.ravel())
    found = [_beta_expectation(lambda t: _soft_of_logit(t, eta), prior[0] + x, prior[1] + m - x)
             for x, m in zip(*pairs, strict=True)]
    return np.asarray(np.array(found)[inverse].reshape(k.shape))


def _empirical_bayes(k: Array, n: Array, depths: Array, eta: float, prior: Prior) -> Array:
    if isinstance(prior, tuple):
        raise InputError(f"prior: expected fitted rates (fit_rates) for estimator 'empirical-bayes', found {prior}")
    return np.asarray(prior.soft_value(k.ravel(), n.ravel(), depths.ravel(), eta).reshape(k.shape))


def _soft_of_logit(t: Array, eta: float) -> Array:
    """g_eta(sigmoid(t)), exact where sigmoid(t) would round to 0 or 1."""
    if abs(eta) <= SHIFT:
        return soft_of_mean(np.exp(-np.logaddexp(0.0, -t)), eta)
    return np.asarray((np.logaddexp(0.0, t + eta) - np.logaddexp(0.0, t)) / eta)


def _beta_expectation(function: Callable[[Array], Array], a: float, b: float) -> float:
    """E[function(t)] with sigmoid(t) ~ Beta(a, b), by the trapezoidal rule in t.

    In t the density sigmoid(t)^a sigmoid(-t)^b and g are analytic for |Im t| < pi and the density decays at both ends,
    so the rule converges geometrically: the step below leaves errors under 1e-12 for every a, b > 0.
    """
    step = min(0.35, 0.55 * math.sqrt(1.0 / a + 1.0 / b))  # trigamma(a) >= 1/a: at most 0.55 standard deviations
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    low = (math.log(1e-15) + math.log(a) + log_beta) / a  # P(T < low) <= exp(a low) / (a B(a, b)), about 1e-15
    high = -(math.log(1e-15) + math.log(b) + log_beta) / b
    t = np.arange(low, high + step, step, dtype=np.float64)
    log_density = -a * np.logaddexp(0.0, -t) - b * np.logaddexp(0.0, t)
    density: Array = np.exp(log_density - log_density.max())
    return float(np.dot(density, function(t)) / density.sum())


def _check_prior(prior: Prior) -> tuple[float, float]:
    if not isinstance(prior, tuple):
        raise InputError("prior: expected two positive numbers (a, b) for a Beta distribution, found fitted rates")
    a, b = prior
    if not (math.isfinite(a) and math.isfinite(b) and a > 0 and b > 0):
        raise InputError(f"prior: expected two positive numbers (a, b), found {prior}")
    return float(a), float(b)


@dataclass(frozen=True, slots=True)
class Estimator:
    """A way from counts to V_eta.

    Attributes:
        help: one line.
        value: counts k and n, depths (float64, one shape), eta and the prior -> V_eta.
        fit: learns the prior that it needs from successes, trials and depths [N]; None: it needs none.
    """

    help: str
    value: Callable[[Array, Array, Array, float, Prior], Array]
    fit: Callable[[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike], Prior] | None = None


ESTIMATORS = {
    "plug-in": Estimator("g(k/n)", lambda k, n, depths, eta, prior: _plug_in(k, n, eta)),
    "jackknife": Estimator("Quenouille's, unbiased to second order",
                           lambda k, n, depths, eta, prior: _jackknife(k, n, eta)),
    "delta": Estimator("plug-in and its second-order bias", lambda k, n, depths, eta, prior: _delta(k, n, eta)),
    "beta": Estimator("posterior mean under a Beta prior, fitted to the counts",
                      lambda k, n, depths, eta, prior: _posterior_mean(k, n, eta, prior),
                      lambda successes, trials, depths: fit_prior(successes, trials)),
    "empirical-bayes": Estimator("posterior mean under success rates fitted for each depth", _empirical_bayes,
                                 fit_rates),
}
