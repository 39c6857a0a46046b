"""Which target a step gets: the kind, and for the entropy-regularised one eta, estimator and prior.

    TargetSpec("er", eta=2.0, estimator="empirical-bayes").fitted_to_rows(rows).of_row(row)     # one per step
    TargetSpec("er", eta=(0.5, 2.0, 10.0)).of_row(row)                                          # [L, 3]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from erprm.errors import InputError
from erprm.rows import StepRow
from erprm.values import ESTIMATORS, JEFFREYS, KINDS, Array, ErrorPrior, RatePrior, Steps, row_targets, step_targets
from erprm.values.first_errors import fit_error_prior
from erprm.values.kinds import counts_of
from erprm.values.rewards import check_estimator

Etas = float | Sequence[float] | str  # str: without it transformers' HfArgumentParser refuses an option of this type


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """Which target a step gets (see `erprm.values.row_targets`).

    Attributes:
        kind: one of `erprm.values.KINDS`.
        eta, estimator: of "er" and "td"; several etas give "er" a target for each.
        threshold: of "hard".
        prior: of the estimators "beta" and "empirical-bayes", and of "first-error"; None: it is fitted to the data
            (`fitted`).
        epsilon: of "progress".
        horizon, weight: of "td".
    """

    kind: str = "er"
    eta: Etas = 2.0
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
        etas = check_etas(self.eta)
        if len(etas) > 1 and self.kind != "er":
            raise InputError(f"eta: expected one number with the target {self.kind}, found {len(etas)}; er has a value "
                             "for each")
        object.__setattr__(self, "eta", etas if len(etas) > 1 else etas[0])

    @property
    def etas(self) -> tuple[float, ...]:
        """Each eta, one or several."""
        return check_etas(self.eta)

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
        """The target of every step, float64 [M], [M, H] with several etas; NaN where it has none.

        A prior that is wanted is fitted to these steps.
        """
        spec = self.fitted(steps)
        values = [step_targets(steps, spec.kind, eta, spec.estimator, **spec._rest()) for eta in spec.etas]
        return np.stack(values, axis=1) if len(values) > 1 else values[0]

    def of_row(self, row: StepRow) -> Array:
        """`row_targets` of this kind, [L] or [L, H]. Raises InputError when the row lacks what the kind needs."""
        values = [row_targets(row, self.kind, eta, self.estimator, **self._rest()) for eta in self.etas]
        return np.stack(values, axis=1) if len(values) > 1 else values[0]

    def _rest(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "prior": JEFFREYS if self.prior is None else self.prior,
                "epsilon": self.epsilon, "horizon": self.horizon, "weight": self.weight}


def eta_name(eta: float) -> str:
    """An eta in the names of labels, columns and curves, the shortest text that stands for this number: "2", "0.5"."""
    return repr(float(eta)).removesuffix(".0")


def check_etas(given: Etas) -> tuple[float, ...]:
    """One or several etas as a tuple. Raises InputError for none, the same one twice, or one that isn't finite."""
    etas = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    if not etas:
        raise InputError("eta: expected at least one number, found none")
    for eta in etas:
        if isinstance(eta, bool) or not isinstance(eta, (int, float)) or not math.isfinite(eta):
            raise InputError(f"eta: expected finite numbers, found {eta!r}")
        if etas.count(eta) > 1:
            raise InputError(f"eta: expected different numbers, found {eta_name(eta)} twice")
    return tuple(float(eta) for eta in etas)
