"""Training targets of counts alone, and temporal-difference targets of values along a solution.

    targets([0, 3, 16], [16, 16, 16], kind="hard")                        # 1[k >= 1]
    td_targets([0.2, 0.6, 1.0], horizon=1)                                # [0.6, 1.0, 1.0]

What every step of whole solutions is trained towards is in `erprm.values.kinds`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.values.counts import JEFFREYS, check_counts
from erprm.values.estimators import Prior, soft_value
from erprm.values.soft import Array, check_eta, soft_mean


def targets(successes: npt.ArrayLike, trials: npt.ArrayLike, kind: str = "er", eta: float = 2.0,
            estimator: str = "plug-in", *, threshold: float = 0.0, prior: Prior = JEFFREYS,
            depths: npt.ArrayLike = 1) -> Array:
    """Training targets in [0, 1] from counts.

    Args:
        kind: "soft" k/n; "hard" 1[k/n > threshold] (Math-Shepherd at threshold 0); "er" V_eta, clipped to [0, 1].
        eta, estimator, prior, depths: for "er", as in `soft_value`.

    Raises:
        InputError: as `soft_value`, or for an unknown kind.
    """
    k, n = check_counts(successes, trials)
    of_counts: dict[str, Callable[[], Array]] = {
        "soft": lambda: k / n,
        "hard": lambda: np.where(k / n > threshold, 1.0, 0.0),
        "er": lambda: soft_value(k, n, eta, estimator, prior, depths=depths, clip=True)}
    if kind not in of_counts:
        raise InputError(f"kind: expected soft, hard or er for counts, found {kind!r}")
    return of_counts[kind]()


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
    check_lookahead(horizon, weight)
    check_eta(eta)
    return mixed(v, v[np.minimum(np.arange(v.size) + horizon, v.size - 1)], weight, eta)


def mixed(now: Array, later: Array, weight: float, eta: float) -> Array:
    """(1/eta) ln((1-w) exp(eta now) + w exp(eta later)), of each pair."""
    return soft_mean(np.stack([now, later], axis=-1), eta, np.array([1.0 - weight, weight]))


def check_lookahead(horizon: int, weight: float) -> None:
    """Raises InputError unless horizon >= 0 and weight is in [0, 1]."""
    if horizon < 0 or not 0.0 <= weight <= 1.0:
        raise InputError(f"horizon, weight: expected horizon >= 0 and weight in [0, 1], found {horizon}, {weight}")
