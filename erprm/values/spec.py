"""Which target a step gets: the kind, and for the entropy-regularised one eta, estimator and prior.

    TargetSpec("er", eta=2.0, estimator="empirical-bayes").fitted_to_rows(rows).of_row(row)     # one per step
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from erprm.errors import InputError
from erprm.rows import StepRow
from erprm.values import ESTIMATORS, JEFFREYS, KINDS, Array, ErrorPrior, RatePrior, Steps, row_targets, step_targets
from erprm.values.first_errors import fit_error_prior
from erprm.values.kinds import counts_of
from erprm.values.rewards import check_estimator


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """Which target a step gets (see `erprm.values.row_targets`).

    Attributes:
        kind: one of `erprm.values.KINDS`.
        eta, estimator: of "er" and "td".
        threshold: of "hard".
        prior: of the estimators "beta" and "empirical-bayes", and of "first-error"; None: it is fitted to the data
            (`fitted`).
        epsilon: of "progress".
        horizon, weight: of "td".
    """

    kind: str = "er"
    eta: float = 2.0
    estimator: str = "plug-in"
    threshold: float = 0.0
    prior: tuple[float, float] | RatePrior | ErrorPrior | None = None
    epsilon: float = 0.5
    horizon: int = 1
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"target: expected one of {', '.join(KINDS)}, found {self.kind!r}")
        if self.estimator not in ESTIMATORS:
            raise InputError(f"estimator: expected one of {', '.join(ESTIMATORS)}, found {self.estimator!r}")

    @property
    def wants_prior(self) -> bool:
        """Whether targets need a prior that is not there yet."""
        estimates = "estimator" in KINDS[self.kind].reads and ESTIMATORS[self.estimator].fit is not None
        return self.prior is None and (estimates or self.kind == "first-error")

    def fitted(self, steps: Steps) -> TargetSpec:
        """This, with a prior fitted to the counts of unfinished steps if it wants one."""
        if not self.wants_prior:
            return self
        known = steps.estimated
        if self.kind == "first-error":
            return replace(self, prior=fit_error_prior(*counts_of(steps)) if known.any() else ErrorPrior())
        if steps.graded.any():
            check_estimator(self.estimator)
        fit = ESTIMATORS[self.estimator].fit
        if fit is None or not known.any():
            return replace(self, estimator="plug-in")  # every target is an outcome, there is nothing to estimate
        return replace(self, prior=fit(steps.successes[known], steps.trials[known], steps.depths[known]))

    def fitted_to_rows(self, rows: Iterable[StepRow]) -> TargetSpec:
        """As `fitted`, to the counts in rows."""
        return self.fitted(Steps.of_rows(list(rows))) if self.wants_prior else self

    def of_steps(self, steps: Steps) -> Array:
        """The target of every step, float64 [M]; NaN where it has none. A prior that is wanted is fitted to these."""
        spec = self.fitted(steps)
        return step_targets(steps, spec.kind, spec.eta, spec.estimator, **spec._rest())

    def of_row(self, row: StepRow) -> Array:
        """`row_targets` of this kind. Raises InputError when the row lacks what the kind needs."""
        return row_targets(row, self.kind, self.eta, self.estimator, **self._rest())

    def _rest(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "prior": JEFFREYS if self.prior is None else self.prior,
                "epsilon": self.epsilon, "horizon": self.horizon, "weight": self.weight}
