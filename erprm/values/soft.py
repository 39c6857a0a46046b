"""The soft value itself: of a success rate, its inverse, and of values with weights.

    soft_of_mean(0.3, eta=2.0)                       # g_eta(0.3)
    mean_of_soft(0.5, eta=2.0)                       # the p with g_eta(p) = 0.5
    soft_mean([0.2, 0.9], eta=2.0)                   # (1/eta) ln mean exp(eta v)
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError

Array = npt.NDArray[np.float64]

SERIES = 1e-8  # below this |eta| two terms of the series are exact to 1e-17, and eta may even be denormal
SHIFT = 1.0  # above this |eta| the exponent is shifted by its maximum; expm1 would overflow from 709 on


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
    if abs(eta) < SERIES:
        return np.asarray(p + 0.5 * eta * p * (1.0 - p))
    if abs(eta) <= SHIFT:
        return np.asarray(np.log1p(p * math.expm1(eta)) / eta)
    with np.errstate(divide="ignore"):  # ln 0 = -inf is the right term for p = 0 and p = 1
        return np.asarray(np.logaddexp(np.log1p(-p), np.log(p) + eta) / eta + 0.0)  # + 0.0 turns -0.0 into 0.0


def mean_of_soft(value: npt.ArrayLike, eta: float) -> Array:
    """The inverse of `soft_of_mean`: the success rate p with g_eta(p) = `value`, for values in [0, 1]."""
    v = np.asarray(value, np.float64)
    if abs(eta) < SERIES:
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
    if abs(eta) * float(np.max(np.abs(spread), initial=0.0)) <= SHIFT:
        if abs(eta) < SERIES:
            return np.asarray(mean[..., 0] + 0.5 * eta * np.sum(w * spread**2, axis=-1))
        return np.asarray(mean[..., 0] + np.log1p(np.sum(w * np.expm1(eta * spread), axis=-1)) / eta)
    extreme = np.max(np.where(w > 0, v * np.sign(eta), -np.inf), axis=-1, keepdims=True) * np.sign(eta)
    with np.errstate(over="ignore", under="ignore"):  # a weightless value may lie beyond the extreme
        terms = np.where(w > 0, w * np.exp(np.minimum(eta * (v - extreme), 0.0)), 0.0)
    return np.asarray(extreme[..., 0] + np.log(np.sum(terms, axis=-1)) / eta)


def check_eta(eta: float) -> None:
    """Raises InputError unless eta is finite."""
    if not math.isfinite(eta):
        raise InputError(f"eta: expected a finite number, found {eta}")
