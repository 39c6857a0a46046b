"""Completions where they tell most about the first wrong step, until it is known: bisection by posterior.

    FirstErrors(confidence=0.9, n_max=16)

Along a wrong solution the success rate falls once and stays down, so one prefix in the middle says more than sixteen
completions of every prefix (OmegaPRM, arXiv 2406.06592). Each solution has a posterior over its first wrong step
(`erprm.values.first_errors`), with rates and hazard fitted to the counts of all; in each round it asks for completions
of the prefix whose next outcome lowers the entropy most per expected token, until one step, or none, has the asked
probability. A solution with a right answer is checked as well: it may have got there by a wrong step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.rollouts.allocation import Counts, Tally
from erprm.values import Array, ErrorPrior, first_errors, fit_error_prior
from erprm.values.first_errors import sample_gains

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """How many solutions there are; of how many it is known whether and where they go wrong; how many of these do; and
    how many of those have the right answer."""

    solutions: int
    settled: int
    wrong: int
    lucky: int

    def __str__(self) -> str:
        return (f"first errors: {self.settled:,} of {self.solutions:,} solutions settled, {self.wrong:,} with a wrong "
                f"step, {self.lucky:,} of these with a right answer")


@dataclass(frozen=True, slots=True)
class FirstErrors:
    """When the first wrong steps are known well enough, and which prefixes to sample until then.

    Attributes:
        confidence: a solution is settled when a step, or none, is the first wrong one with this probability.
        n_min: least trials of the step that is taken for the first wrong one; least trials along a solution that is
            taken to have none. A step is not condemned by a single failure: rates fitted to such counts would say that
            living prefixes never fail.
        n_max: most completions sampled of a prefix; a run never samples more than n_max of each would.
        step: completions that an unsettled solution asks for between two looks.
    """

    confidence: float = 0.9
    n_min: int = 3
    n_max: int = 16
    step: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence: expected a number in (0, 1), found {self.confidence}")
        if self.step < 1:
            raise InputError(f"step: expected at least 1, found {self.step}")
        if not self.n_min >= 0 or not self.n_max >= 1:
            raise InputError(f"n_min, n_max: expected n_min >= 0 and n_max >= 1, found {self.n_min}, {self.n_max}")

    def wanted(self, tally: Tally) -> Counts:
        """How many completions each prefix should have been given after the next round, int32 [N]."""
        result: Counts = tally.sampled.astype(np.int32)
        chains, prior = tally.chains, self._prior(tally)
        k, n = chains.along(tally.successes), chains.along(tally.trials)
        able = (chains.places >= 0) & (chains.along(tally.sampled) < self.n_max)
        cost = np.maximum(chains.along(tally.cost), 1.0)
        for which, posterior in first_errors(k, n, chains.offsets, chains.right, prior):
            steps = chains.offsets[which][:, None] + np.arange(posterior.shape[1] - 1)
            rows, can, trials = np.arange(len(which)), able[steps], n[steps]
            gains = np.where(can, sample_gains(posterior, k[steps], trials, prior, cost[steps]), -np.inf)
            sure, wrong, at = self._likeliest(posterior)
            enough = np.where(wrong, (trials[rows, at] >= self.n_min) | ~can[rows, at], trials.sum(1) >= self.n_min)
            place = np.where(sure & wrong, at, gains.argmax(1))
            asking = chains.places[steps[rows, place][~(sure & enough) & can[rows, place]]]
            np.maximum.at(result, asking, np.minimum(tally.sampled[asking] + self.step, self.n_max))
        return result

    def found(self, tally: Tally) -> Found:
        """What is known by now."""
        chains = tally.chains
        settled = wrong = lucky = 0
        for which, posterior in first_errors(chains.along(tally.successes), chains.along(tally.trials), chains.offsets,
                                             chains.right, self._prior(tally)):
            sure, errs, _ = self._likeliest(posterior)
            errs &= sure
            settled, wrong = settled + int(sure.sum()), wrong + int(errs.sum())
            lucky += int((errs & (chains.right[which] == 1.0)).sum())
        return Found(len(chains.right), settled, wrong, lucky)

    def _likeliest(self, posterior: Array) -> tuple[Bools, Bools, Ints]:
        """Of each solution: is its likeliest first wrong step likely enough; is it a step; its number, [G] each."""
        likeliest, length = posterior.argmax(1), posterior.shape[1] - 1
        return posterior.max(1) >= self.confidence, likeliest < length, np.minimum(likeliest, length - 1)

    @staticmethod
    def _prior(tally: Tally) -> ErrorPrior:
        chains = tally.chains
        k, n = chains.along(tally.successes), chains.along(tally.trials)
        return fit_error_prior(k, n, chains.offsets, chains.right) if n.any() else ErrorPrior()
