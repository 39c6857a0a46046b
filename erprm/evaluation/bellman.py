"""The Bellman residual: do a model's values agree with themselves from one step to the next? It needs no labels.

    found = bellman_residual(rows, eta=2.0)                  # of the rows' scores
    found = bellman_residual(rows, eta=2.0, of="counts")     # of the store's k of n
    found.depths[3].residual, found.depths[3].low, found.depths[3].high

exp(eta V) is a martingale under the policy that wrote the rows, so that after t steps

    delta_t = ln E_{a^(t+1) ~ pi0} exp(eta V_(t+1)) - eta V_t

is 0 for exact values. Positive: the model learns of success later than it could, and judges prefixes too low; negative:
too high. The search theory of arXiv 2602.01381 asks for residuals of the order of 1 / (number of steps).

One row is one draw of the next step at each of its prefixes. By depth the residual is ln (sum exp(eta V_(t+1)) / sum
exp(eta V_t)) over the rows that go on: the mean of exp(delta_t), weighted by exp(eta V_t). Both sums are without bias
when V comes from counts as well, since exp(eta g(k/n)) = 1 - k/n + (k/n) e^eta is linear in k. Depth 0 takes the
problem's own value from the outcomes of its rows. Where rows share a prefix, `spread` is the root mean square of
delta_t over such prefixes, which also holds the noise of the few next steps that were drawn there.

Rows of a search, or chosen by a score, are no draws of the policy: their residual says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from erprm.errors import InputError
from erprm.rows import StepRow, row_scores
from erprm.statistics.bootstrap import RESAMPLES
from erprm.values import Array, row_targets, soft_values
from erprm.values.counts import Ints
from erprm.values.scales import check_scores_are
from erprm.values.soft import check_eta

OF = ("scores", "counts")


@dataclass(frozen=True, slots=True)
class Residual:
    """The residual at one depth, in units of eta V.

    Attributes:
        transitions: rows that go on from here, whose values before and after are known.
        residual, low, high: delta_t and its 95 % bootstrap interval over problems.
        prefixes: prefixes from which several rows go on.
        spread: the root mean square of delta_t over them; None where there is none.
    """

    transitions: int
    residual: float
    low: float
    high: float
    prefixes: int
    spread: float | None


@dataclass(frozen=True, slots=True)
class BellmanResidual:
    """By depth.

    Attributes:
        of: "scores" or "counts".
        depths: by the number of steps behind which the next one is drawn; 0 is the problem itself.
        end: ln E exp(eta r) - eta V_L, how the value of a finished solution agrees with its outcome (scores only).
        mean: the mean of |delta_t| over transitions between steps, weighed by how many there are.
        left_out: transitions of which one of the two values is not known.
    """

    eta: float
    of: str
    depths: dict[int, Residual]
    end: Residual | None
    mean: float
    left_out: int

    def to_dict(self) -> dict[str, Any]:
        """As in evaluation.json."""
        return asdict(self) | {"depths": {str(depth): asdict(part) for depth, part in self.depths.items()}}


def bellman_residual(rows: Sequence[StepRow], eta: float, *, of: str = "scores", scores_are: str = "value",
                     seed: int = 0) -> BellmanResidual:
    """The residual of step values by depth.

    Args:
        rows: solutions that the policy sampled, of any number of problems; those of one problem share `problem_key`.
        eta: inverse temperature of the values, finite and not 0.
        of: "scores", the rows' own, or "counts", V_eta = g_eta(k/n), and the outcome behind the last step.
        scores_are: what scores estimate: "value", V_eta, or "mean", the success rate p, of which g_eta is taken.
        seed: of the bootstrap.

    Raises:
        InputError: for eta out of range, rows without what `of` asks for, or no two steps that follow each other.
    """
    check_eta(eta)
    if eta == 0.0:
        raise InputError("eta: expected a number other than 0, for which every residual is 0")
    if of not in OF:
        raise InputError(f"of: expected one of {', '.join(OF)}, found {of!r}")
    check_scores_are(scores_are)
    values = [_values(row, eta, of, scores_are) for row in rows]
    problems = {key: number for number, key in enumerate(dict.fromkeys(row.problem_key for row in rows))}
    places = np.array([problems[row.problem_key] for row in rows], np.int64)
    longest = max((len(value) for value in values), default=0)
    depths: dict[int, Residual] = {}
    left_out = 0
    for depth in range(longest):
        going = [index for index, value in enumerate(values) if len(value) > depth]
        after = np.array([values[index][depth] for index in going])
        before = np.array([_before(rows[index], values[index], depth) for index in going])
        known = np.isfinite(before) & np.isfinite(after)
        left_out += int((~known).sum()) if depth else 0
        if known.any():
            chosen = np.array(going)[known]
            prefixes = [(places[index], rows[index].steps[:depth]) for index in chosen] if depth else []
            depths[depth] = _residual(eta * before[known], eta * after[known], places[chosen], prefixes, seed)
    between = [part for depth, part in depths.items() if depth]
    if not between:
        raise InputError(f"rows: expected solutions with two steps whose {of} are known, found none")
    mean = float(np.average([abs(part.residual) for part in between], weights=[part.transitions for part in between]))
    return BellmanResidual(eta, of, depths, _end(rows, values, places, eta, seed) if of == "scores" else None, mean,
                           left_out)


def _values(row: StepRow, eta: float, of: str, scores_are: str) -> Array:
    if of == "counts":
        return row_targets(row, "er", eta)
    return soft_values(row_scores(row), eta, scores_are)


def _before(row: StepRow, values: Array, depth: int) -> float:
    """V_t; of the problem itself the row's outcome, whose exp(eta r) has the mean exp(eta V_0)."""
    if depth:
        return float(values[depth - 1])
    return np.nan if row.outcome is None else row.outcome


def _end(rows: Sequence[StepRow], values: Sequence[Array], places: Ints, eta: float, seed: int) -> Residual | None:
    ended = [index for index, row in enumerate(rows) if row.finished and row.outcome is not None]
    if not ended:
        return None
    outcomes = np.array([rows[index].outcome for index in ended], np.float64)
    last = np.array([values[index][-1] for index in ended])
    return _residual(eta * last, eta * outcomes, places[ended], [], seed)


def _residual(before: Array, after: Array, problems: Ints, prefixes: Sequence[Any], seed: int) -> Residual:
    """Of transitions eta V_t -> eta V_(t+1), [M] each, in problems [M]; `prefixes` [M] or none."""
    top = max(float(before.max()), float(after.max()))
    _, number = np.unique(problems, return_inverse=True)
    sums = np.stack([np.bincount(number, np.exp(after - top)), np.bincount(number, np.exp(before - top))])
    size = sums.shape[1]
    counts = np.random.default_rng(seed).multinomial(size, np.full(size, 1.0 / size), RESAMPLES)
    with np.errstate(divide="ignore", invalid="ignore"):  # at very large eta a resample's sum may underflow to 0
        resampled = np.log(counts @ sums[0]) - np.log(counts @ sums[1])
        low, high = np.nanquantile(resampled, [0.025, 0.975])
        residual = float(np.log(sums[0].sum()) - np.log(sums[1].sum()))
    members: dict[Any, list[int]] = {}
    for index, prefix in enumerate(prefixes):
        members.setdefault(prefix, []).append(index)
    several = [np.array(indices) for indices in members.values() if len(indices) > 1]
    deltas = np.array([_log_mean_exp(after[indices]) - before[indices[0]] for indices in several])
    spread = float(np.sqrt(np.mean(np.square(deltas)))) if several else None
    return Residual(len(before), residual, float(low), float(high), len(several), spread)


def _log_mean_exp(values: Array) -> float:
    top = values.max()
    return float(top + np.log(np.mean(np.exp(values - top))))
