"""Completions where they lower the error of V_eta most per token, until the mean error is as small as asked.

    Accurate(eta=2.0, rmse=0.05, n_min=4, n_max=128)

Bayes' rule over all prefixes at once. The success rates of the prefixes are taken as draws from one Beta distribution,
fitted to the counts so far (`erprm.values.fit_prior`). Then every prefix has a posterior variance of its V_eta, which
is the expected square error of the posterior mean, and so has the expected decrease of that variance by m more
completions (preposterior analysis): with w(p) the posterior and b(j|p) the binomial chance of j successes in m,

    decrease = sum_j (sum_p w g b_j)^2 / (sum_p w b_j) - (sum_p w g)^2          g = g_eta(p)

Prefixes with the largest decrease per expected token are sampled next. Where most prefixes never succeed, the fitted
prior says so, and a few failures suffice there. A posterior does not depend on why the sampling stopped, so looking at
the counts costs nothing, as far as the Beta distribution describes the prefixes; estimate with the same prior
(`soft_value(k, n, eta, "beta", prior)`), the error of k/n is not what is controlled here. Where the Beta distribution
does not describe them the expected error is wrong: docs/rollouts.md has a measured case in which it is too small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.values import fit_prior, soft_of_mean

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]

_EDGES = 1.0 / (1.0 + np.exp(-np.linspace(-10.0, 10.0, 161)))  # of the cells of p; beyond them p is 0 or 1
_CENTRES = np.concatenate([[0.0], 0.5 * (_EDGES[1:] + _EDGES[:-1]), [1.0]])


@dataclass(frozen=True, slots=True)
class Accurate:
    """When the values of all prefixes together are known well enough, and which to sample until then.

    Attributes:
        eta: of the soft value V_eta that is to be known.
        rmse: the root of the mean posterior variance over the distinct prefixes at which sampling ends.
        n_min, n_max: bounds of the number of completions of a prefix.
        step: completions added to a prefix between two looks.
        share: at most this share of the prefixes is sampled between two looks.
    """

    eta: float = 2.0
    rmse: float = 0.05
    n_min: int = 4
    n_max: int = 128
    step: int = 4
    share: float = 0.05

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

    def wanted(self, successes: Counts, trials: Counts, cost: Array) -> Counts:
        """How many completions each prefix should have after the next round, int32 [N].

        Args:
            successes, trials: int [N].
            cost: expected tokens of one more completion, positive, [N].
        """
        if (trials < self.n_min).any():
            return np.maximum(trials, self.n_min).astype(np.int32)
        result = trials.copy()
        if len(trials) == 0:
            return result
        variance, decrease = self._per_prefix(successes, trials)
        surplus = float(variance.sum()) - self.rmse**2 * len(trials)
        able = np.flatnonzero(trials < self.n_max)
        if surplus <= 0 or len(able) == 0:
            return result
        order = able[np.argsort(-decrease[able] / cost[able], kind="stable")]
        needed = int(np.searchsorted(np.cumsum(decrease[order]), surplus)) + 1
        chosen = order[: min(needed, max(1, round(self.share * len(trials))))]
        result[chosen] = np.minimum(trials[chosen] + self.step, self.n_max)
        return result

    def expected_rmse(self, successes: Counts, trials: Counts) -> float:
        """The root of the mean posterior variance of V_eta at counts [N]; NaN before every prefix has a completion."""
        if len(trials) == 0 or (trials < 1).any():
            return math.nan
        return math.sqrt(float(self._per_prefix(successes, trials)[0].mean()))

    def _per_prefix(self, successes: Counts, trials: Counts) -> tuple[Array, Array]:
        """(posterior variance, its expected decrease by `step` completions), [N] each."""
        # Prefixes by the thousand share a few hundred (k, n): each is computed once.
        pairs, inverse = np.unique(np.stack([successes, trials]), axis=1, return_inverse=True)
        found = variance_and_decrease(pairs[0], pairs[1], self.step, self.eta, fit_prior(successes, trials))
        return found[0][inverse.ravel()], found[1][inverse.ravel()]


def variance_and_decrease(successes: npt.ArrayLike, trials: npt.ArrayLike, more: int, eta: float,
                          prior: tuple[float, float]) -> tuple[Array, Array]:
    """(variance of V_eta under its posterior, expected decrease of it by `more` completions), float64 [N] each.

    The prior is cut into 160 cells, an eighth of a logit wide, with its exact masses.

    Args:
        successes, trials: [N].
        prior: (a, b) of the Beta distribution.
    """
    from scipy.special import betainc, comb

    k, n = np.asarray(successes, np.float64)[:, None], np.asarray(trials, np.float64)[:, None]
    mass = np.diff(np.concatenate([[0.0], betainc(*prior, _EDGES), [1.0]]))
    weight = mass * _CENTRES**k * (1.0 - _CENTRES) ** (n - k)  # [N, cells]
    weight /= weight.sum(1, keepdims=True)
    value = soft_of_mean(_CENTRES, eta)
    mean = weight @ value
    j = np.arange(more + 1.0)
    chance = comb(more, j) * _CENTRES[:, None] ** j * (1.0 - _CENTRES[:, None]) ** (more - j)  # [cells, more + 1]
    predicted, first = weight @ chance, (weight * value) @ chance
    square = np.divide(first**2, predicted, out=np.zeros_like(first), where=predicted > 0)
    variance = weight @ value**2 - mean**2
    return np.maximum(variance, 0.0), np.maximum(square.sum(1) - mean**2, 0.0)
