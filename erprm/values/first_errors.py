"""Where a solution goes wrong: the posterior over its first wrong step, from completions sampled at its prefixes.

    first_error([9, 7, 0, 0], [16, 16, 8, 4], right=False)     # [5]: nearly all on the third step; last entry: none
    prior = fit_error_prior(successes, trials, offsets)        # what alive and dead prefixes look like here
    place, gain = next_sample(posterior, successes, trials, prior, cost)

After a first wrong step success is (nearly) impossible, before it it is not: along a wrong solution the success rate
falls once and stays down. With e the first wrong step, the counts of prefix j are beta-binomial with the rates of alive
prefixes for j < e and of dead ones for j >= e, and P(e = l) before any count is geometric with a hazard per step. The
monotone shape is what bisection uses (OmegaPRM, arXiv 2406.06592); here the next sample goes where the posterior's
entropy is expected to fall most per token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.values.counts import Ints, check_counts, distinct
from erprm.values.soft import Array

_LEAST, _MOST = 1e-3, 1e4  # of a Beta parameter that is fitted


@dataclass(frozen=True, slots=True)
class ErrorPrior:
    """What is known before a solution's completions are counted.

    Attributes:
        alive: (a, b) of the Beta distribution of success rates before the first wrong step.
        dead: the same from the first wrong step on; near 0.
        hazard: probability that a step is the first wrong one, given that none before it was, in (0, 1).
    """

    alive: tuple[float, float] = (1.0, 1.0)
    dead: tuple[float, float] = (0.1, 10.0)
    hazard: float = 0.2

    def __post_init__(self) -> None:
        for name in ("alive", "dead"):
            pair = getattr(self, name)
            if len(pair) != 2 or not all(math.isfinite(value) and value > 0 for value in pair):
                raise InputError(f"{name}: expected two positive numbers (a, b), found {pair}")
        if not 0 < self.hazard < 1:
            raise InputError(f"hazard: expected a number in (0, 1), found {self.hazard}")

    def is_close(self, other: ErrorPrior) -> bool:
        """Whether no number differs by more than one per cent."""
        pairs = zip((*self.alive, *self.dead, self.hazard), (*other.alive, *other.dead, other.hazard), strict=True)
        return all(math.isclose(one, two, rel_tol=0.01) for one, two in pairs)


def first_error(successes: npt.ArrayLike, trials: npt.ArrayLike, right: bool | None = None,
                prior: ErrorPrior | None = None) -> Array:
    """The posterior over the first wrong step of one solution.

    Args:
        successes, trials: k and n at the prefix that ends with each step, integers [L], L >= 1; n may be 0.
        right: the solution's own outcome, one more completion of its last prefix: a wrong solution has a wrong step, a
            right one may have got there by chance. None: not finished, or not graded.
        prior: rates of alive and dead prefixes and the hazard; the default suits policies that often recover before
            an error and hardly ever after it.

    Returns:
        float64 [L + 1], sums to 1: the probability that step l (0-based) is the first wrong one; the last entry: none.

    Raises:
        InputError: for counts out of order or no step.
    """
    k, n = _counts(successes, trials)
    outcome = np.array([math.nan if right is None else float(right)])
    return np.asarray(_posterior(k[None], n[None], outcome, prior or ErrorPrior())[0])


def first_errors(successes: npt.ArrayLike, trials: npt.ArrayLike, offsets: npt.ArrayLike, right: npt.ArrayLike,
                 prior: ErrorPrior | None = None) -> Iterator[tuple[Ints, Array]]:
    """`first_error` of S solutions, those of one length together, about a million cells [G, L, L + 1] at a time.

    Args:
        successes, trials: integers [M], the steps of the solutions one behind the other.
        offsets: where each begins, [S + 1].
        right: outcomes [S], 0 or 1; NaN where one is not known.

    Yields:
        (which solutions [G], all of one length L; their posteriors [G, L + 1]).

    Raises:
        InputError: for counts out of order, or a solution without a step.
    """
    k, n = check_counts(successes, trials, least=0)
    bounds, outcomes = np.asarray(offsets, np.int64), np.asarray(right, np.float64)
    lengths = np.diff(bounds)
    if (lengths < 1).any():
        raise InputError(f"offsets: expected at least one step of each solution, found none of solution "
                         f"{int(np.argmax(lengths < 1))}")
    for length in np.unique(lengths).tolist():
        equal = np.flatnonzero(lengths == length)
        size = max(1, 2**20 // (length * (length + 1)))
        for begin in range(0, len(equal), size):
            which = equal[begin: begin + size]
            places = bounds[which][:, None] + np.arange(length)
            yield which, _posterior(k[places], n[places], outcomes[which], prior or ErrorPrior())


def _posterior(k: Array, n: Array, right: Array, prior: ErrorPrior) -> Array:
    """[G, L + 1] of G solutions of L steps; right [G] is 0, 1 or NaN."""
    logs = _log_likelihoods(k, n, prior) + _log_prior(k.shape[1], prior)
    a, b = prior.dead
    logs[right == 1.0, :-1] += math.log(a / (a + b))
    logs[right == 0.0, :-1] += math.log(b / (a + b))
    logs[right == 0.0, -1] = -math.inf
    weights = np.exp(logs - logs.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def next_sample(posterior: npt.ArrayLike, successes: npt.ArrayLike, trials: npt.ArrayLike, prior: ErrorPrior,
                cost: npt.ArrayLike) -> tuple[int, float]:
    """The prefix whose next outcome is expected to lower the posterior's entropy most per token.

    Args:
        posterior: [L + 1], as `first_error` returns it for these counts.
        successes, trials: [L].
        cost: expected tokens of one more completion of each prefix, positive, [L].

    Returns:
        (its number in 0 .. L - 1, nats per token).
    """
    k, n = _counts(successes, trials)
    gains = sample_gains(np.asarray(posterior, np.float64)[None], k[None], n[None], prior, np.asarray(cost)[None])[0]
    best = int(np.argmax(gains))
    return best, float(gains[best])


def sample_gains(posterior: Array, successes: Array, trials: Array, prior: ErrorPrior, cost: npt.ArrayLike) -> Array:
    """How much the next outcome of each prefix is expected to lower the entropy, in nats per token, [G, L].

    Args:
        posterior: [G, L + 1], as `first_errors` yields it for these counts [G, L].
        cost: expected tokens of one more completion of each prefix, positive, [G, L].
    """
    length = successes.shape[1]
    dead = np.arange(length)[:, None] >= np.arange(length + 1)[None, :]  # [prefix j, first error e]
    rates = {state: ((successes + a) / (trials + a + b))[:, :, None]
             for state, (a, b) in (("alive", prior.alive), ("dead", prior.dead))}
    chance = np.where(dead, rates["dead"], rates["alive"])  # of a success at j, given e: [G, L, L + 1]
    expected = np.zeros(successes.shape)
    for likelihood in (chance, 1.0 - chance):
        joint = likelihood * posterior[:, None, :]
        total = joint.sum(2, keepdims=True)
        expected += total[:, :, 0] * _entropy(joint / np.maximum(total, np.finfo(np.float64).tiny))
    return np.asarray((_entropy(posterior)[:, None] - expected) / np.asarray(cost, np.float64))


def fit_error_prior(successes: npt.ArrayLike, trials: npt.ArrayLike, offsets: npt.ArrayLike,
                    right: npt.ArrayLike | None = None, rounds: int = 20) -> ErrorPrior:
    """Rates and hazard by expectation-maximisation over many solutions, from the default prior on.

    Args:
        successes, trials: integers [M], the steps of S solutions one behind the other.
        offsets: where each begins, [S + 1].
        right: outcomes [S], 0 or 1; NaN where one is not known.

    Raises:
        InputError: when no prefix has a trial.
    """
    k, n = check_counts(successes, trials, least=0)
    bounds = np.asarray(offsets, np.int64)
    outcomes = np.full(len(bounds) - 1, math.nan) if right is None else np.asarray(right, np.float64)
    if not np.any(n > 0):
        raise InputError("trials: expected at least one prefix with a trial, found none")
    prior = ErrorPrior()
    for _ in range(rounds):
        alive = np.zeros(len(k))  # probability that the prefix is alive
        errors, steps = 0.0, 0.0
        for which, p in first_errors(k, n, bounds, outcomes, prior):
            after = 1.0 - np.cumsum(p[:, :-1], axis=1)
            alive[bounds[which][:, None] + np.arange(after.shape[1])] = after
            errors += float(p[:, :-1].sum())
            steps += len(which) + float(after[:, :-1].sum())  # steps at which a first error could have happened
        hazard = min(max(errors / steps, 1e-3), 1.0 - 1e-3)
        before = prior
        prior = ErrorPrior(_fitted(k, n, alive, prior.alive), _fitted(k, n, 1.0 - alive, prior.dead), hazard)
        if prior.is_close(before):
            break
    return prior


def _counts(successes: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[Array, Array]:
    k, n = check_counts(successes, trials, least=0)
    if k.ndim != 1 or len(k) == 0:
        raise InputError(f"successes: expected the counts of at least one step [L], found shape {k.shape}")
    return k, n


def _log_prior(length: int, prior: ErrorPrior) -> Array:
    survived = np.arange(length + 1) * math.log1p(-prior.hazard)
    survived[:-1] += math.log(prior.hazard)
    return np.asarray(survived)


def _log_likelihoods(k: Array, n: Array, prior: ErrorPrior) -> Array:
    """Of all counts [G, L] given each first error, [G, L + 1]."""
    alive, dead = (_beta_binomial(k, n, *pair) for pair in (prior.alive, prior.dead))
    none = np.zeros((len(k), 1))
    before = np.concatenate([none, np.cumsum(alive, axis=1)], axis=1)
    behind = np.concatenate([np.cumsum(dead[:, ::-1], axis=1)[:, ::-1], none], axis=1)
    return np.asarray(before + behind)


def _beta_binomial(k: Array, n: Array, a: float, b: float) -> Array:
    """Log-probability up to the binomial coefficient, which is the same for both states."""
    from scipy.special import betaln

    return np.asarray(betaln(a + k, b + n - k) - betaln(a, b))


def _entropy(p: Array) -> Array:
    """Of each row, in nats."""
    return np.asarray(-np.sum(np.where(p > 0, p * np.log(np.maximum(p, np.finfo(np.float64).tiny)), 0.0), axis=-1))


def _fitted(k: Array, n: Array, weight: Array, start: tuple[float, float]) -> tuple[float, float]:
    """(a, b) that maximise the weighted beta-binomial likelihood, with one pseudo-prefix at the start's mean."""
    from scipy.optimize import minimize
    from scipy.special import digamma

    counted = (n > 0) & (weight > 1e-6)
    if not counted.any():
        return start
    pairs, inverse = distinct(k[counted], n[counted])
    k = np.append(pairs[0], start[0] / (start[0] + start[1]))
    n, weight = np.append(pairs[1], 1.0), np.append(np.bincount(inverse, weight[counted]), 1.0)

    def loss(logs: Array) -> tuple[float, Array]:
        a, b = np.exp(logs)
        shared = digamma(a + b) - digamma(a + b + n)
        slopes = [np.sum(weight * (digamma(own + count) - digamma(own) + shared)) * own
                  for own, count in ((a, k), (b, n - k))]
        return float(-np.sum(weight * _beta_binomial(k, n, a, b)) / weight.sum()), -np.array(slopes) / weight.sum()

    found = minimize(loss, np.log(start), jac=True, method="L-BFGS-B",
                     bounds=[(math.log(_LEAST), math.log(_MOST))] * 2)
    a, b = np.exp(found.x)
    return float(a), float(b)
