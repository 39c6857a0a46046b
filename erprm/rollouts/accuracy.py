"""Completions where they lower the error of V_eta most per token, until the mean error is as small as asked.

    Accurate(eta=2.0, rmse=0.05, n_min=2, n_max=128)

Bayes' rule over all prefixes at once. The distribution of success rates at each depth is fitted to the counts so far
(`erprm.priors`). Then every prefix has a posterior variance of its V_eta, which is the expected square error of the
posterior mean, and so has the expected decrease of that variance by m more completions (preposterior analysis, Raiffa
and Schlaifer 1961): with w(p) the posterior and b(j|p) the binomial chance of j successes in m,

    decrease = sum_j (sum_p w g b_j)^2 / (sum_p w b_j) - (sum_p w g)^2          g = g_eta(p)

Prefixes with the largest decrease per expected token, times the number of steps that get their label from them, are
sampled next. Where most prefixes of a depth never succeed, the fitted distribution says so, and a few failures suffice
there. A posterior does not depend on why the sampling stopped, so looking at the counts costs nothing, as far as the
fitted distribution is the right one; docs/rollouts.md has what was asked and what came.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.rollouts.allocation import Counts, Tally
from erprm.values import RATES, distinct, fit_rates, soft_of_mean

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Accurate:
    """When the values of all prefixes together are known well enough, and which to sample until then.

    Attributes:
        eta: of the soft value V_eta that is to be known.
        rmse: sampling ends when the root of the mean posterior variance over the unfinished steps is at most this.
        n_min: least trials of a prefix; short prefixes come first, as their completions may pass through longer ones.
        n_max: most completions sampled of a prefix.
        step: completions added to a prefix between two looks.
        share: at most this share of the prefixes is sampled between two looks.
    """

    eta: float = 2.0
    rmse: float = 0.05
    n_min: int = 2
    n_max: int = 128
    step: int = 2
    share: float = 0.1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rmse) and self.rmse > 0):
            raise InputError(f"rmse: expected a positive number, found {self.rmse}")
        if not 1 <= self.n_min <= self.n_max:
            raise InputError(f"n_min, n_max: expected 1 <= n_min <= n_max, found {self.n_min}, {self.n_max}")
        if self.step < 1:
            raise InputError(f"step: expected at least 1, found {self.step}")
        if not math.isfinite(self.eta):
            raise InputError(f"eta: expected a finite number, found {self.eta}")
        if not 0 < self.share <= 1:
            raise InputError(f"share: expected a number in (0, 1], found {self.share}")

    def wanted(self, tally: Tally) -> Counts:
        """How many completions each prefix should have been given after the next round, int32 [N]."""
        lack, waiting = tally.lacking(self.n_min)
        result: Counts = (tally.sampled + np.where(waiting, 0, lack)).astype(np.int32)
        if lack.any():
            return result
        if len(tally) == 0:
            return result
        variance, decrease = self._per_prefix(tally)
        surplus = float(tally.uses @ variance) - self.rmse**2 * float(tally.uses.sum())
        able = np.flatnonzero(tally.sampled < self.n_max)
        if surplus <= 0 or len(able) == 0:
            return result
        gain = tally.uses * decrease
        order = able[np.argsort(-gain[able] / tally.cost[able], kind="stable")]
        needed = int(np.searchsorted(np.cumsum(gain[order]), surplus)) + 1
        chosen = order[: min(needed, max(1, round(self.share * len(tally))))]
        result[chosen] = np.minimum(result[chosen] + self.step, self.n_max)
        return result

    def expected_rmse(self, tally: Tally) -> float:
        """The root of the mean posterior variance of V_eta over steps; NaN before every prefix has a trial."""
        if len(tally) == 0 or (tally.trials < 1).any():
            return math.nan
        return math.sqrt(float(np.average(self._per_prefix(tally)[0], weights=tally.uses)))

    def _per_prefix(self, tally: Tally) -> tuple[Array, Array]:
        """(posterior variance, its expected decrease by `step` completions), [N] each."""
        prior = fit_rates(tally.successes, tally.trials, tally.depths)
        rows, inverse = distinct(tally.successes, tally.trials, tally.depths)
        variance, decrease = variance_and_decrease(prior.posterior(*rows), self.step, self.eta)
        return variance[inverse], decrease[inverse]


def variance_and_decrease(posterior: Array, more: int, eta: float) -> tuple[Array, Array]:
    """(variance of V_eta, expected decrease of it by `more` completions), float64 [N] each.

    Args:
        posterior: [N, cells], the probability of each rate of `erprm.priors.RATES`.
    """
    from scipy.special import comb

    value = soft_of_mean(RATES, eta)
    mean = posterior @ value
    j = np.arange(more + 1.0)
    chance = comb(more, j) * RATES[:, None] ** j * (1.0 - RATES[:, None]) ** (more - j)  # [cells, more + 1]
    predicted, first = posterior @ chance, (posterior * value) @ chance
    square = np.divide(first**2, predicted, out=np.zeros_like(first), where=predicted > 0)
    variance = posterior @ value**2 - mean**2
    return np.maximum(variance, 0.0), np.maximum(square.sum(1) - mean**2, 0.0)
