"""How many completions a prefix gets: as many as it takes to know its own value well enough.

    Adaptive(eta=2.0, width=0.2, n_min=4, n_max=64)          # until the 90 % interval of V_eta is narrower than 0.2
    Adaptive(eta=2.0, settled=0.5, n_min=4, n_max=64)        # until V_eta is known to lie above or below 0.5

A rule sees a `Tally` of all open prefixes after every round and says how many completions each should have. This one
judges each prefix by itself; stopping when an interval looks narrow favours lucky runs a little, so the interval's
level is a design parameter here and no longer a coverage guarantee. `erprm.rollouts.accuracy` has the rule that weighs
all prefixes together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.values import distinct, interval

Counts = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Chains:
    """Which prefixes lie along each of S solutions, for rules that look at whole solutions.

    Attributes:
        offsets: [S + 1] int64 into `places`.
        places: [M] int64, of each step, which of the N prefixes ends with it; -1 where that one is not sampled.
        right: [S] float64, outcomes 0 or 1; NaN where a solution did not finish.
    """

    offsets: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    places: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    right: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def along(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A number of each prefix [N] at each step [M]; 0 where a step's prefix is not sampled."""
        return np.append(values, np.zeros(1, values.dtype))[self.places]


@dataclass(frozen=True, slots=True)
class Tally:
    """What is known of N prefixes between two rounds, [N] each.

    Attributes:
        successes, trials: int32, solutions' own outcomes and passing completions among them where these are counted.
        sampled: int32, the trials that were sampled.
        cost: float64, expected tokens of one more completion, positive.
        depths: int, steps in the prefix.
        uses: int, steps of solutions that get their label from this prefix.
        parents: int, which of the N is one step shorter; -1 where none is.
        chains: the solutions that these are the prefixes of.
    """

    successes: Counts
    trials: Counts
    sampled: Counts
    cost: npt.NDArray[np.float64]
    depths: npt.NDArray[np.int32]
    uses: npt.NDArray[np.int64]
    parents: npt.NDArray[np.int64]
    chains: Chains = field(default_factory=Chains)

    def __len__(self) -> int:
        return len(self.trials)

    def lacking(self, least: int) -> tuple[Counts, npt.NDArray[np.bool_]]:
        """(trials that prefixes lack to have `least`, [N]; which of these wait, [N]).

        A prefix waits while a shorter one of it lacks trials, because completions of that one may pass through it.
        """
        lack = np.maximum(least - self.trials, 0)
        held = np.append(lack > 0, False)  # the last stands for no parent
        for depth in np.unique(self.depths).tolist():
            at = np.flatnonzero(self.depths == depth)
            held[at] |= held[self.parents[at]]
        waiting = held[self.parents] & (lack > 0)
        return lack.astype(np.int32), waiting


@dataclass(frozen=True, slots=True)
class Adaptive:
    """When a prefix has enough completions.

    Attributes:
        eta: of the soft value V_eta that is to be known.
        level: of the interval.
        width: enough when the interval is narrower than this; None: not a reason to stop.
        settled: enough when the interval lies wholly above or below this value; None: not a reason to stop.
        n_min: least trials.
        n_max: most completions sampled.
        step: completions added between two looks.
    """

    eta: float = 2.0
    level: float = 0.9
    width: float | None = None
    settled: float | None = None
    n_min: int = 4
    n_max: int = 64
    step: int = 4

    def __post_init__(self) -> None:
        if self.width is None and self.settled is None:
            raise InputError("adaptive: expected a width or a settled threshold, found neither")
        if not 1 <= self.n_min <= self.n_max:
            raise InputError(f"n_min, n_max: expected 1 <= n_min <= n_max, found {self.n_min}, {self.n_max}")
        if self.step < 1:
            raise InputError(f"step: expected at least 1, found {self.step}")
        if self.width is not None and not (math.isfinite(self.width) and self.width > 0):
            raise InputError(f"width: expected a positive number, found {self.width}")
        if not math.isfinite(self.eta):
            raise InputError(f"eta: expected a finite number, found {self.eta}")
        if not 0 < self.level < 1:
            raise InputError(f"level: expected a number in (0, 1), found {self.level}")

    def wanted(self, tally: Tally) -> Counts:
        """How many completions each prefix should have been given after the next round, int32 [N]."""
        lack, waiting = tally.lacking(self.n_min)
        result: Counts = (tally.sampled + np.where(waiting, 0, lack)).astype(np.int32)
        unsure = (lack == 0) & ~self.enough(tally)
        result[unsure] = np.minimum(tally.sampled[unsure] + self.step, self.n_max)
        return result

    def enough(self, tally: Tally) -> npt.NDArray[np.bool_]:
        """Which prefixes need no more completions, bool [N]."""
        done = tally.sampled >= self.n_max
        look = np.flatnonzero((tally.trials >= self.n_min) & ~done)
        (k, n), inverse = distinct(tally.successes[look], tally.trials[look])
        if len(k):
            low, high = interval(k, n, self.eta, self.level)
            sure = np.zeros(len(k), bool)
            if self.width is not None:
                sure |= high - low <= self.width
            if self.settled is not None:
                sure |= (low > self.settled) | (high < self.settled)
            done[look] = sure[inverse]
        return done
