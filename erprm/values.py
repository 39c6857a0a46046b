"""Counts into targets: the soft value V_eta of a prefix, its estimators and intervals, and every label kind.

k of n completions sampled from the reference policy succeeded; eta is the inverse temperature (ER-PRM's eta,
arXiv 2412.11006; papers on implicit PRMs write 1/eta as beta). For 0/1 outcomes with mean p

    V_eta = g_eta(p) = (1/eta) ln(1 - p + p e^eta)        eta -> 0: p,   +inf: 1[p > 0],   -inf: 1[p = 1]

    soft_value([0, 3, 16], [16, 16, 16], eta=2.0)                         # plug-in: g(k/n)
    soft_value([0, 3, 16], [16, 16, 16], eta=2.0, estimator="beta")       # posterior mean of g(p)
    low, high = interval([0, 3, 16], [16, 16, 16], eta=2.0, level=0.9)
    targets([0, 3, 16], [16, 16, 16], kind="hard")                        # 1[k >= 1]

docs/theory.md derives the formulas and gives the bias and error of each estimator.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.rows import StepRow

Array = npt.NDArray[np.float64]

ESTIMATORS = ("plug-in", "jackknife", "delta", "beta")
KINDS = ("outcome", "soft", "hard", "er", "labels")
JEFFREYS = (0.5, 0.5)

_SERIES = 1e-8  # below this |eta| two terms of the series are exact to 1e-17, and eta may even be denormal
_SHIFT = 1.0  # above this |eta| the exponent is shifted by its maximum; expm1 would overflow from 709 on


def soft_of_mean(p: npt.ArrayLike, eta: float) -> Array:
    """g_eta(p), the soft value of a Bernoulli outcome with mean `p`.

    Three forms, each exact to a few ulp where it is used: p + eta p(1-p)/2 for |eta| < 1e-8 (eta = 0 gives p exactly),
    log1p(p expm1(eta)) / eta up to |eta| = 1, and beyond it the log-sum-exp of ln(1-p) and ln p + eta.

    Args:
        p: means in [0, 1], any shape.
        eta: any finite number.

    Returns:
        float64, the shape of `p`, in [0, 1].
    """
    p = np.asarray(p, np.float64)
    if abs(eta) < _SERIES:
        return np.asarray(p + 0.5 * eta * p * (1.0 - p))
    if abs(eta) <= _SHIFT:
        return np.asarray(np.log1p(p * math.expm1(eta)) / eta)
    with np.errstate(divide="ignore"):  # ln 0 = -inf is the right term for p = 0 and p = 1
        return np.asarray(np.logaddexp(np.log1p(-p), np.log(p) + eta) / eta + 0.0)  # + 0.0 turns -0.0 into 0.0


def mean_of_soft(value: npt.ArrayLike, eta: float) -> Array:
    """The inverse of `soft_of_mean`: the success rate p with g_eta(p) = `value`, for values in [0, 1]."""
    v = np.asarray(value, np.float64)
    if abs(eta) < _SERIES:
        return np.asarray(v - 0.5 * eta * v * (1.0 - v))
    if eta < 0:
        return np.asarray(np.expm1(eta * v) / math.expm1(eta))
    return np.asarray(np.exp(eta * (v - 1.0)) * np.expm1(-eta * v) / math.expm1(-eta))


def soft_mean(values: npt.ArrayLike, eta: float, weights: npt.ArrayLike | None = None) -> Array:
    """(1/eta) ln sum_i w_i exp(eta v_i) over the last axis: the mean at eta = 0, the maximum for large eta.

    Args:
        values: finite, [..., R].
        eta: any finite number; negative gives the soft minimum.
        weights: [..., R], non-negative, summing to 1 over the last axis; equal by default.

    Returns:
        float64 [...].
    """
    v = np.asarray(values, np.float64)
    w = np.full(v.shape[-1], 1.0 / v.shape[-1]) if weights is None else np.asarray(weights, np.float64)
    # Relative to a centre c, V = c + g(v - c). Around the mean the small-eta form loses nothing; for large |eta (v-c)|
    # the centre is the extreme that dominates the sum, so that no exponent is positive.
    mean = np.sum(w * v, axis=-1, keepdims=True)
    spread = v - mean
    if abs(eta) * float(np.max(np.abs(spread), initial=0.0)) <= _SHIFT:
        if abs(eta) < _SERIES:
            return np.asarray(mean[..., 0] + 0.5 * eta * np.sum(w * spread**2, axis=-1))
        return np.asarray(mean[..., 0] + np.log1p(np.sum(w * np.expm1(eta * spread), axis=-1)) / eta)
    extreme = np.max(np.where(w > 0, v * np.sign(eta), -np.inf), axis=-1, keepdims=True) * np.sign(eta)
    with np.errstate(over="ignore", under="ignore"):  # a weightless value may lie beyond the extreme
        terms = np.where(w > 0, w * np.exp(np.minimum(eta * (v - extreme), 0.0)), 0.0)
    return np.asarray(extreme[..., 0] + np.log(np.sum(terms, axis=-1)) / eta)


def soft_value(successes: npt.ArrayLike, trials: npt.ArrayLike, eta: float, estimator: str = "plug-in",
               prior: tuple[float, float] = JEFFREYS, *, clip: bool = False) -> Array:
    """V_eta estimated from counts.

    Args:
        successes: integers k, any shape.
        trials: integers n >= 1, broadcast against `successes`.
        eta: inverse temperature, any finite number.
        estimator: "plug-in" g(k/n); "jackknife" (Quenouille's, unbiased to second order); "delta" (plug-in plus the
            second-order bias term); "beta", the posterior mean of g(p) under the prior. With one trial the jackknife
            and the delta method have nothing to correct with and equal the plug-in.
        prior: (a, b) of the Beta prior, for "beta"; Jeffreys by default, `fit_prior` learns one.
        clip: cut the estimate to [0, 1], where V_eta lies. Jackknife and delta can leave it, and clipping brings
            back some of the bias that they remove, so it is off; `targets` turns it on.

    Returns:
        float64 in the broadcast shape.

    Raises:
        InputError: for counts that are no integers or out of order, trials = 0, eta not finite, an unknown estimator.
    """
    k, n = check_counts(successes, trials)
    _check_eta(eta)
    if estimator not in ESTIMATORS:
        raise InputError(f"estimator: expected one of {', '.join(ESTIMATORS)}, found {estimator!r}")
    if estimator == "beta":
        return _posterior_mean(k, n, eta, _check_prior(prior))
    value = {"plug-in": _plug_in, "jackknife": _jackknife, "delta": _delta}[estimator](k, n, eta)
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
    _check_eta(eta)
    a, b = _check_prior(prior)
    if not 0.0 < level < 1.0:
        raise InputError(f"level: expected a number between 0 and 1, found {level}")
    tail = 0.5 * (1.0 - level)
    low, high = betaincinv(a + k, b + n - k, tail), 1.0 - betaincinv(b + n - k, a + k, tail)
    return soft_of_mean(low, eta), soft_of_mean(high, eta)


def targets(successes: npt.ArrayLike, trials: npt.ArrayLike, kind: str = "er", eta: float = 2.0,
            estimator: str = "plug-in", *, threshold: float = 0.0, prior: tuple[float, float] = JEFFREYS) -> Array:
    """Training targets in [0, 1] from counts.

    Args:
        kind: "soft" k/n; "hard" 1[k/n > threshold] (Math-Shepherd at threshold 0); "er" V_eta, clipped to [0, 1].
        eta, estimator, prior: for "er", as in `soft_value`.

    Raises:
        InputError: as `soft_value`, or for an unknown kind.
    """
    k, n = check_counts(successes, trials)
    if kind == "soft":
        return k / n
    if kind == "hard":
        return np.where(k / n > threshold, 1.0, 0.0)
    if kind == "er":
        return soft_value(k, n, eta, estimator, prior, clip=True)
    raise InputError(f"kind: expected soft, hard or er for counts, found {kind!r}")


def row_targets(row: StepRow, kind: str = "er", eta: float = 2.0, estimator: str = "plug-in", *,
                threshold: float = 0.0, prior: tuple[float, float] = JEFFREYS) -> Array:
    """The target of every step of one solution.

    Args:
        kind: "outcome" (every step gets the solution's own outcome: the ORM); "soft", "hard" or "er" from the counts,
            where the last step of a finished solution is exactly its outcome; "labels", the row's own labels.

    Returns:
        float64 [L]; NaN where a step has no target (no trial, or a null label).

    Raises:
        InputError: when the row lacks what the kind needs.
    """
    length = len(row.steps)
    if kind == "labels":
        if row.labels is None:
            raise InputError("labels: expected one label per step for kind 'labels', found none")
        return np.array([math.nan if label is None else label for label in row.labels])
    if kind == "outcome":
        if row.outcome is None:
            raise InputError("outcome: expected a graded solution for kind 'outcome', found none")
        return np.full(length, row.outcome)
    if kind not in KINDS:
        raise InputError(f"kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    if row.successes is None or row.trials is None:
        raise InputError(f"successes and trials: expected counts for kind {kind!r}, found none")
    k, n = np.array(row.successes), np.array(row.trials)
    known = n > 0
    result = np.full(length, math.nan)
    result[known] = targets(k[known], n[known], kind, eta, estimator, threshold=threshold, prior=prior)
    if row.finished and row.outcome is not None:
        result[-1] = row.outcome
    return result


def td_targets(values: npt.ArrayLike, horizon: int = 1, weight: float = 1.0, eta: float = 0.0) -> Array:
    """n-step temporal-difference targets along one solution (TDRM), without intermediate rewards.

    Because exp(eta V) is a martingale under the reference policy, the value `horizon` steps later is an estimate of the
    value now; it is mixed with the own estimate in the same domain:
    exp(eta y_l) = (1-w) exp(eta V_l) + w exp(eta V_{l+h}).

    Args:
        values: V_1..V_L of the steps, [L]; the last is the outcome of a finished solution.
        horizon: how many steps to look ahead; beyond the end it is the last value.
        weight: w in [0, 1].
        eta: the inverse temperature of `values`; 0 mixes linearly, as TDRM does.

    Returns:
        float64 [L].
    """
    v = np.asarray(values, np.float64)
    if v.ndim != 1 or v.size == 0:
        raise InputError(f"values: expected the values of at least one step [L], found shape {v.shape}")
    if horizon < 0 or not 0.0 <= weight <= 1.0:
        raise InputError(f"horizon, weight: expected horizon >= 0 and weight in [0, 1], found {horizon}, {weight}")
    _check_eta(eta)
    later = v[np.minimum(np.arange(v.size) + horizon, v.size - 1)]
    return soft_mean(np.stack([v, later], axis=-1), eta, np.array([1.0 - weight, weight]))


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
    over_eta = slope * slope / eta if abs(eta) >= _SERIES else eta * np.ones_like(p)
    correction = over_eta * p * (1.0 - p) / (2.0 * np.maximum(n - 1.0, 1.0))
    return np.asarray(_plug_in(k, n, eta) + np.where(mixed, correction, 0.0))


def _posterior_mean(k: Array, n: Array, eta: float, prior: tuple[float, float]) -> Array:
    """E[g(p)] for p ~ Beta(a + k, b + n - k), once per distinct (k, n)."""
    if eta == 0.0:
        return np.asarray((prior[0] + k) / (prior[0] + prior[1] + n))
    pairs, inverse = np.unique(np.stack([k.ravel(), n.ravel()]), axis=1, return_inverse=True)
    found = [_beta_expectation(lambda t: _soft_of_logit(t, eta), prior[0] + x, prior[1] + m - x) for x, m in pairs.T]
    return np.asarray(np.array(found)[inverse.ravel()].reshape(k.shape))


def _soft_of_logit(t: Array, eta: float) -> Array:
    """g_eta(sigmoid(t)), exact where sigmoid(t) would round to 0 or 1."""
    if abs(eta) <= _SHIFT:
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


def check_counts(successes: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[Array, Array]:
    """Counts as float64 in their broadcast shape. Raises InputError unless they are whole, 0 <= k <= n and n >= 1."""
    checked = []
    for name, given in (("successes", successes), ("trials", trials)):
        array = np.asarray(given)
        whole = array.dtype.kind in "iub" or (array.dtype.kind == "f" and bool(np.all(np.mod(array, 1.0) == 0.0)))
        if not whole:
            raise InputError(f"{name}: expected whole numbers, found {given!r:.60}")
        checked.append(array.astype(np.float64))
    try:
        k, n = np.broadcast_arrays(*checked)
    except ValueError as error:
        raise InputError(f"successes and trials: expected shapes that broadcast, found {checked[0].shape} and "
                         f"{checked[1].shape}") from error
    for bad, problem in ((n < 1, "expected trials >= 1"), ((k < 0) | (k > n), "expected 0 <= successes <= trials")):
        if bad.any():
            where = np.unravel_index(int(np.argmax(bad)), bad.shape)
            place = f" at index {', '.join(map(str, where))}" if where else ""
            raise InputError(f"successes and trials: {problem}, found {k[where]:.0f} of {n[where]:.0f}{place}")
    return k, n


def _check_eta(eta: float) -> None:
    if not math.isfinite(eta):
        raise InputError(f"eta: expected a finite number, found {eta}")


def _check_prior(prior: tuple[float, float]) -> tuple[float, float]:
    a, b = prior
    if not (math.isfinite(a) and math.isfinite(b) and a > 0 and b > 0):
        raise InputError(f"prior: expected two positive numbers (a, b), found {prior}")
    return float(a), float(b)
