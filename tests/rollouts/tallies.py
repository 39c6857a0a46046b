"""Counts as the adaptive rules see them."""

import numpy as np
import numpy.typing as npt

from erprm.rollouts.allocation import Tally


def tally(successes: npt.ArrayLike, trials: npt.ArrayLike, **others: npt.ArrayLike) -> Tally:
    """All at depth 1 without a parent, used once, of cost 1 and sampled, unless said otherwise."""
    k, n = np.asarray(successes, np.int32), np.asarray(trials, np.int32)
    usual = {"sampled": n, "cost": np.ones(len(n)), "depths": np.ones(len(n), np.int32), "uses": np.ones(len(n), int),
             "parents": np.full(len(n), -1)}
    return Tally(k, n, **(usual | others))  # type: ignore[arg-type]
