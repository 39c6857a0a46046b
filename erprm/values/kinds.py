"""What a step is trained towards: the label kinds, of every step of many solutions.

    row_targets(row, kind="er", eta=2.0)                                  # one per step of a solution
    step_targets(Steps.of_rows(rows), kind="soft")                        # [M], of all at once

Here, and nowhere else, stands the rule for steps with counts or rewards: without a completion there is no value (NaN),
and the value of the last step of a finished, graded solution is exactly its outcome. Of graded rewards, "soft" is their
mean, "hard" whether the best is above the threshold, "er" their log-mean-exp; what needs counts is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.rows import StepRow
from erprm.values.counts import JEFFREYS, Ints, distinct
from erprm.values.estimators import Prior
from erprm.values.first_errors import ErrorPrior, first_errors
from erprm.values.rewards import check_estimator, soft_rewards
from erprm.values.soft import Array
from erprm.values.steps import Steps
from erprm.values.targets import check_lookahead, mixed, targets


@dataclass(frozen=True, slots=True)
class KindOptions:
    """How a kind makes targets; which of these it reads, its `help` says.

    Attributes:
        eta, estimator, prior: of V_eta, as in `soft_value`; "first-error" takes an `ErrorPrior`.
        threshold: of "hard".
        epsilon: of "progress".
        horizon, weight: of "td", as in `td_targets`.
    """

    eta: float = 2.0
    estimator: str = "plug-in"
    threshold: float = 0.0
    prior: Prior | ErrorPrior = JEFFREYS
    epsilon: float = 0.5
    horizon: int = 1
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise InputError(f"epsilon: expected a positive number, found {self.epsilon}")
        check_lookahead(self.horizon, self.weight)


@dataclass(frozen=True, slots=True)
class LabelKind:
    """What a step is trained towards.

    Attributes:
        help: one line.
        needs: what a row must have: "outcome", "labels", "counts", or "completions", which are counts or rewards.
        of: steps, and the options -> float64 [M]; NaN where a step has no target.
        reads: the fields of `KindOptions` that it reads, the prior aside.
    """

    help: str
    needs: str
    of: Callable[[Steps, KindOptions], Array]
    reads: tuple[str, ...] = ()


def _values(kind: str) -> Callable[[Steps, KindOptions], Array]:
    """The values of steps from completions: of each by itself, "soft", "hard" or "er"."""
    def of(steps: Steps, options: KindOptions) -> Array:
        known = np.asarray(steps.trials > 0)
        prior = JEFFREYS if isinstance(options.prior, ErrorPrior) else options.prior
        depths = np.ones_like(steps.trials) if isinstance(prior, tuple) else steps.depths
        (k, n, depth), inverse = distinct(steps.successes[known], steps.trials[known], depths[known])
        values = np.full(len(steps.trials), np.nan)
        if len(k):
            values[known] = targets(k, n, kind, options.eta, options.estimator, threshold=options.threshold,
                                    prior=prior, depths=depth)[inverse]
        graded = steps.graded
        if graded.any():
            values[graded] = _of_rewards(steps, graded, kind, options)
        values[steps.last] = steps.outcomes[steps.ends]
        return values

    return of


def _of_rewards(steps: Steps, graded: npt.NDArray[np.bool_], kind: str, options: KindOptions) -> Array:
    """The values of the steps that have rewards."""
    lengths = np.diff(steps.reward_offsets)
    chosen = steps.rewards[np.repeat(graded, lengths)]
    offsets = np.concatenate([[0], np.cumsum(lengths[graded])])
    if kind == "hard":
        return np.where(np.maximum.reduceat(chosen, offsets[:-1]) > options.threshold, 1.0, 0.0)
    if kind == "er":
        check_estimator(options.estimator)
        return soft_rewards(chosen, offsets, options.eta, options.estimator, clip=True)
    return soft_rewards(chosen, offsets, 0.0)


def _first_error(steps: Steps, options: KindOptions) -> Array:
    """1 before the first wrong step, 0 at it, none after; soft by the posterior.

    Of step l the probability that it is no first wrong step, given that none before it is: P(e > l) / P(e >= l); none
    where a step before it is more likely wrong than not, P(e < l) > 1/2.
    """
    if len(steps.rewards):
        raise InputError("target first-error: expected counts, found graded rewards; it needs completions that are "
                         "right or wrong")
    graded = steps.outcomes[~np.isnan(steps.outcomes) & ~np.isin(steps.outcomes, (0.0, 1.0))]
    if len(graded):
        raise InputError(f"target first-error: expected outcomes that are 0 or 1, found {graded[0]}")
    values = np.full(len(steps.trials), np.nan)
    prior = options.prior if isinstance(options.prior, ErrorPrior) else None
    for which, posterior in first_errors(*counts_of(steps), prior):
        behind = np.cumsum(posterior, axis=1)  # P(e <= l), [G, L + 1]
        reached = 1.0 - np.concatenate([np.zeros((len(which), 1)), behind[:, :-2]], axis=1)  # P(e >= l), [G, L]
        value = 1.0 - np.divide(posterior[:, :-1], reached, out=np.ones_like(reached), where=reached > 0)
        places = steps.offsets[which][:, None] + np.arange(reached.shape[1])
        values[places] = np.where(reached >= 0.5, np.clip(value, 0.0, 1.0), np.nan)
    return values


def counts_of(steps: Steps) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer], Ints, Array]:
    """(successes [M], trials [M], offsets, outcomes [R]) as `first_errors` takes them: at the end of a finished
    solution stands its outcome alone, not as a count too; NaN where a solution did not finish or was not graded."""
    k, n = steps.successes.copy(), steps.trials.copy()
    k[steps.last] = n[steps.last] = 0
    return k, n, steps.offsets, np.where(steps.ends, steps.outcomes, np.nan)


def _progress(steps: Steps, options: KindOptions) -> Array:
    """1 where a step keeps at least the share epsilon of the value before it; none at the first step, and none behind a
    value of 0."""
    values = _values("soft")(steps, options)
    before = np.concatenate([[np.nan], values[:-1]])
    before[steps.offsets[:-1]] = np.nan
    known = ~np.isnan(values) & (before > 0)
    return np.where(known, np.where(values >= options.epsilon * before, 1.0, 0.0), np.nan)


def _td(steps: Steps, options: KindOptions) -> Array:
    """V_eta mixed with that of `horizon` steps later; where one of them is not known, the other alone."""
    values = _values("er")(steps, options)
    ends = np.repeat(steps.offsets[1:] - 1, np.diff(steps.offsets))
    later = values[np.minimum(np.arange(len(values)) + options.horizon, ends)]
    now, later = (np.where(np.isnan(one), other, one) for one, other in ((values, later), (later, values)))
    known = ~np.isnan(now)
    result = np.full(len(values), np.nan)
    result[known] = mixed(now[known], later[known], options.weight, options.eta)
    return np.asarray(np.clip(result, 0.0, 1.0))


KINDS = {
    "outcome": LabelKind("every step gets the solution's outcome (ORM)", "outcome",
                         lambda steps, options: np.repeat(steps.outcomes, np.diff(steps.offsets))),
    "soft": LabelKind("k/n", "completions", _values("soft")),
    "hard": LabelKind("1 where k/n is above the threshold (Math-Shepherd)", "completions", _values("hard"),
                      ("threshold",)),
    "er": LabelKind("the entropy-regularised value V_eta", "completions", _values("er"),
                    ("eta", "estimator")),
    "first-error": LabelKind("1 before the first wrong step, 0 at it, none after; soft by the posterior", "counts",
                             _first_error),
    "progress": LabelKind("1 where a step keeps the share epsilon of the success rate before it", "completions",
                          _progress, ("epsilon",)),
    "td": LabelKind("V_eta mixed with V_eta some steps later (TDRM, in the log domain)", "completions", _td,
                    ("eta", "estimator", "horizon", "weight")),
    "labels": LabelKind("the rows' own labels", "labels", lambda steps, options: steps.labels),
}


def kind_of(name: str) -> LabelKind:
    """The kind called `name`. Raises InputError."""
    if name not in KINDS:
        raise InputError(f"kind: expected one of {', '.join(KINDS)}, found {name!r}")
    return KINDS[name]


def step_targets(steps: Steps, kind: str = "er", eta: float = 2.0, estimator: str = "plug-in", *,
                 threshold: float = 0.0, prior: Prior | ErrorPrior = JEFFREYS, epsilon: float = 0.5, horizon: int = 1,
                 weight: float = 1.0) -> Array:
    """The target of every step, float64 [M]; NaN where it has none. One evaluation per distinct (k, n, depth).

    Args:
        kind: one of `KINDS`; the others as in `KindOptions`.

    Raises:
        InputError: as `soft_value`; for an unknown kind; for graded rewards where the kind or the estimator needs
            counts.
    """
    return kind_of(kind).of(steps, KindOptions(eta, estimator, threshold, prior, epsilon, horizon, weight))


def row_targets(row: StepRow, kind: str = "er", eta: float = 2.0, estimator: str = "plug-in", *,
                threshold: float = 0.0, prior: Prior | ErrorPrior = JEFFREYS, epsilon: float = 0.5, horizon: int = 1,
                weight: float = 1.0) -> Array:
    """`step_targets` of one solution, float64 [L]. Raises InputError when the row lacks what the kind needs."""
    needs = kind_of(kind).needs
    if needs == "labels" and row.labels is None:
        raise InputError("labels: expected one label per step for kind 'labels', found none")
    if needs == "outcome" and row.outcome is None:
        raise InputError("outcome: expected a graded solution for kind 'outcome', found none")
    if needs in ("counts", "completions") and not row.has_completions:
        raise InputError(f"successes and trials: expected counts for kind {kind!r}, found none")
    return step_targets(Steps.of_rows([row]), kind, eta, estimator, threshold=threshold, prior=prior, epsilon=epsilon,
                        horizon=horizon, weight=weight)
