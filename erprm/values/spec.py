"""Which target a step gets: the kind, and for the entropy-regularised one eta, estimator and prior.

    TargetSpec("er", eta=2.0, estimator="empirical-bayes").fitted_to_rows(rows).of_row(row)     # one per step
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from erprm.errors import InputError
from erprm.rows import StepRow
from erprm.values import ESTIMATORS, JEFFREYS, KINDS, Array, RatePrior, Steps, row_targets, step_targets


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
        return self.prior is None and self.kind == "er" and ESTIMATORS[self.estimator].fit is not None

    def fitted(self, steps: Steps) -> TargetSpec:
        """This, with a prior fitted to the counts of unfinished steps if it wants one."""
        fit = ESTIMATORS[self.estimator].fit
        if not self.wants_prior or fit is None:
            return self
        known = steps.estimated
        if not known.any():
            return replace(self, estimator="plug-in")  # every target is an outcome, there is nothing to estimate
        return replace(self, prior=fit(steps.successes[known], steps.trials[known], steps.depths[known]))

    def fitted_to_rows(self, rows: Iterable[StepRow]) -> TargetSpec:
        """As `fitted`, to the counts in rows."""
        return self.fitted(Steps.of_rows(list(rows))) if self.wants_prior else self

    def of_steps(self, steps: Steps) -> Array:
        """The target of every step, float64 [M]; NaN where it has none. A prior that is wanted is fitted to these."""
        spec = self.fitted(steps)
        return step_targets(steps, spec.kind, spec.eta, spec.estimator, threshold=spec.threshold,
                            prior=JEFFREYS if spec.prior is None else spec.prior)

    def of_row(self, row: StepRow) -> Array:
        """`row_targets` of this kind. Raises InputError when the row lacks what the kind needs."""
        return row_targets(row, self.kind, self.eta, self.estimator, threshold=self.threshold,
                           prior=JEFFREYS if self.prior is None else self.prior)
