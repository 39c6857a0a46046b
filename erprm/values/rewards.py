"""Graded rewards into soft values: the log-mean-exp of each segment of rewards, and its jackknife.

    soft_rewards([0.0, 0.5, 1.0, 0.2], offsets=[0, 3, 4], eta=2.0)                          # [2], of 3 and of 1 reward
    soft_rewards([0.0, 0.5, 1.0, 0.2], [0, 3, 4], eta=2.0, estimator="jackknife")

Of rewards that are all 0 or 1 this is what `soft_value` makes of their counts. Estimators that need counts are refused.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.values.counts import Ints
from erprm.values.soft import Array, check_eta, soft_mean


def _plug_in(rewards: Array, eta: float) -> Array:
    """(1/eta) ln mean exp(eta r) of each row, [G, n] -> [G]."""
    return soft_mean(rewards, eta)


def _jackknife(rewards: Array, eta: float) -> Array:
    """n V - (n-1) times the mean of V without one completion, [G, n] -> [G]; V itself at n = 1."""
    n = rewards.shape[1]
    plug_in = _plug_in(rewards, eta)
    if n == 1:
        return plug_in
    without = soft_mean(rewards[:, None, :], eta, (1.0 - np.eye(n)) / (n - 1.0))  # [G, n]
    return np.asarray(plug_in + (n - 1.0) * (plug_in - without.mean(-1)))


OF_REWARDS: dict[str, Callable[[Array, float], Array]] = {"plug-in": _plug_in, "jackknife": _jackknife}


def soft_rewards(rewards: npt.ArrayLike, offsets: npt.ArrayLike, eta: float, estimator: str = "plug-in", *,
                 clip: bool = False) -> Array:
    """V_eta of S steps from the rewards of their completions.

    Args:
        rewards: [R], finite.
        offsets: [S + 1], ascending from 0 to R: step s has rewards[offsets[s]:offsets[s + 1]], at least one.
        eta: inverse temperature, any finite number.
        estimator: "plug-in", the log-mean-exp; "jackknife", that with its bias removed to second order by leaving one
            completion out at a time.
        clip: cut the estimate to the range of the segment's rewards, which the jackknife can leave.

    Returns:
        float64 [S].

    Raises:
        InputError: for an estimator that needs counts, a reward that is not finite, a segment without a reward, offsets
            out of order, eta not finite.
    """
    r, bounds = check_segments(rewards, offsets)
    check_eta(eta)
    check_estimator(estimator)
    lengths = np.diff(bounds)
    if (lengths < 1).any():
        raise InputError(f"offsets: expected at least one reward of each step, found none of step "
                         f"{int(np.argmax(lengths < 1))}")
    values = np.empty(len(lengths))
    for length in np.unique(lengths).tolist():
        which = np.flatnonzero(lengths == length)
        chosen = r[bounds[which][:, None] + np.arange(length)]
        found = OF_REWARDS[estimator](chosen, eta)
        values[which] = np.clip(found, chosen.min(1), chosen.max(1)) if clip else found
    return values


def check_estimator(estimator: str) -> None:
    """Raises InputError for an estimator that cannot use rewards."""
    if estimator not in OF_REWARDS:
        raise InputError(f"estimator: expected {' or '.join(OF_REWARDS)} for graded rewards, found {estimator!r}, "
                         "which needs counts")


def check_segments(rewards: npt.ArrayLike, offsets: npt.ArrayLike) -> tuple[Array, Ints]:
    """Rewards as float64 [R] and offsets as int64 [S + 1]. Raises InputError as `soft_rewards`."""
    r, bounds = np.asarray(rewards, np.float64), np.asarray(offsets)
    if r.ndim != 1:
        raise InputError(f"rewards: expected numbers [R], found shape {r.shape}")
    if not np.isfinite(r).all():
        where = int(np.argmin(np.isfinite(r)))
        raise InputError(f"rewards: expected finite numbers, found {r[where]} at index {where}")
    if bounds.ndim != 1 or len(bounds) < 1 or bounds.dtype.kind not in "iu" or bounds[0] != 0 or \
            bounds[-1] != len(r) or (np.diff(bounds.astype(np.int64)) < 0).any():
        raise InputError(f"offsets: expected whole numbers that ascend from 0 to {len(r)}, found {offsets!r:.80}")
    return r, bounds.astype(np.int64)
