"""Which target a step gets: the kind, and for the entropy-regularised one eta, estimator and prior.

    TargetSpec("er", eta=2.0, estimator="empirical-bayes").fitted_to_rows(rows).of_row(row)     # one per step
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.rows import StepRow
from erprm.values import ESTIMATORS, JEFFREYS, KINDS, Array, RatePrior, fit_prior, fit_rates, row_targets


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """Which target a step gets (see `erprm.values.row_targets`).

    Attributes:
        kind: "er", "soft", "hard", "outcome" or "labels".
        eta, estimator: of "er".
        threshold: of "hard".
        prior: of the estimators "beta" and "empirical-bayes"; None: it is fitted to the data (`fitted`).
    """

    kind: str = "er"
    eta: float = 2.0
    estimator: str = "plug-in"
    threshold: float = 0.0
    prior: tuple[float, float] | RatePrior | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"target: expected one of {', '.join(KINDS)}, found {self.kind!r}")
        if self.estimator not in ESTIMATORS:
            raise InputError(f"estimator: expected one of {', '.join(ESTIMATORS)}, found {self.estimator!r}")

    @property
    def wants_prior(self) -> bool:
        """Whether targets need a prior that is not there yet."""
        return self.prior is None and self.kind == "er" and self.estimator in ("beta", "empirical-bayes")

    def fitted(self, successes: npt.ArrayLike, trials: npt.ArrayLike, depths: npt.ArrayLike) -> TargetSpec:
        """This, with a prior fitted to counts [N] of unfinished steps if it wants one."""
        if not self.wants_prior:
            return self
        if np.size(trials) == 0:
            return replace(self, estimator="plug-in")  # every target is an outcome, there is nothing to estimate
        return replace(self, prior=fit_prior(successes, trials) if self.estimator == "beta" else
                       fit_rates(successes, trials, depths))

    def fitted_to_rows(self, rows: Iterable[StepRow]) -> TargetSpec:
        """As `fitted`, to the counts in rows."""
        if not self.wants_prior:
            return self
        counts = [(k, n, depth) for row in rows if row.successes is not None and row.trials is not None
                  for depth, (k, n) in enumerate(zip(row.successes, row.trials, strict=True), start=1)
                  if n > 0 and not (depth == len(row.steps) and row.finished and row.outcome is not None)]
        return self.fitted(*np.array(counts, np.int64).reshape(-1, 3).T)

    def of_row(self, row: StepRow) -> Array:
        """`row_targets` of this kind. Raises InputError when the row lacks what the kind needs."""
        return row_targets(row, self.kind, self.eta, self.estimator, threshold=self.threshold,
                           prior=JEFFREYS if self.prior is None else self.prior)
