"""What a study's cells say: means with both kinds of interval, paired comparisons, and where the variance comes from.

    table = summarise(read_cells(folder), reference="soft")["countdown"]
    table.rewards["er/2"].difference, table.rewards["er/2"].p

Rewards are compared at the largest N. A problem's accuracy is averaged over the reward models' seeds first, so that
problems pair; policies have problems of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from erprm.errors import InputError
from erprm.statistics.bootstrap import bootstrap_interval, holm, paired_test
from erprm.study.cells import Result
from erprm.values import Array

RESAMPLES = 1000
Accuracies = Mapping[int, Array]  # by policy seed, [S, P]: reward-model seeds and held-out problems


@dataclass(frozen=True, slots=True)
class Shares:
    """Standard deviations of a cell's accuracy by source; NaN where one seed says nothing of it.

    Attributes:
        policy: between policies, with their labels and pools, beyond what their problems' number explains.
        problems: from the held-out problems being a sample.
        prm: between reward models on the same labels.
    """

    policy: float
    problems: float
    prm: float


@dataclass(frozen=True, slots=True)
class Row:
    """One reward on one task.

    Attributes:
        cells: policies times reward-model seeds, as they were found.
        ns, accuracy: best-of-N, the mean over policies of the mean over their reward models.
        of_problems: 95 % interval over problems, the seeds held.
        of_seeds: 95 % interval over policies, their reward models and problems.
        difference: from the reference at the largest N, on the policies that have both; with its interval over seeds.
        p: of no difference, paired on problems, Holm-corrected over the task's rewards.
    """

    cells: int
    ns: tuple[int, ...]
    accuracy: tuple[float, ...]
    of_problems: tuple[float, float]
    of_seeds: tuple[float, float]
    shares: Shares
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Table:
    """A task's rewards by name, the reference among them, and its cells."""

    reference: str
    rewards: Mapping[str, Row]
    cells: Sequence[Result]


def summarise(cells: Sequence[Result], reference: str = "soft", seed: int = 0) -> dict[str, Table]:
    """By task. Raises InputError where a task lacks the reference, or a reward's cells differ in their N."""
    tables = {}
    for task in dict.fromkeys(result.cell.task for result in cells):
        mine = [result for result in cells if result.cell.task == task]
        found = _by_reward(mine)
        if reference not in found:
            raise InputError(f"reference: {task}: expected one of {', '.join(found)}, found {reference!r}")
        rows = {name: _row(name, mine, values, found[reference], seed) for name, values in found.items()}
        corrected = holm([row.p for name, row in rows.items() if name != reference])
        others = iter(corrected)
        tables[task] = Table(reference, {
            name: row if name == reference else _with_p(row, next(others)) for name, row in rows.items()}, mine)
    return tables


def _by_reward(cells: Sequence[Result]) -> dict[str, Accuracies]:
    lists: dict[str, dict[int, list[Array]]] = {}
    for result in cells:
        for name, column in result.columns.items():
            lists.setdefault(name, {}).setdefault(result.cell.policy_seed, []).append(column.by_problem)
    return {name: {policy: np.stack(values) for policy, values in found.items()} for name, found in lists.items()}


def _row(name: str, cells: Sequence[Result], values: Accuracies, reference: Accuracies, seed: int) -> Row:
    columns = [(result.cell.policy_seed, result.columns[name]) for result in cells if name in result.columns]
    ns = columns[0][1].ns
    if any(column.ns != ns for _, column in columns):
        raise InputError(f"{name}: expected the same N in all cells, found {ns} and others")
    curves = [np.mean([column.accuracy for seed, column in columns if seed == policy], axis=0) for policy in values]
    both = [policy for policy in values if policy in reference]
    gaps = {policy: (values[policy], reference[policy]) for policy in both}
    tested = paired_test(np.concatenate([first.mean(0) for first, _ in gaps.values()]),
                         np.concatenate([second.mean(0) for _, second in gaps.values()]), seed=seed)
    low, high = _interval([(values[policy],) for policy in values], seed)
    gap_low, gap_high = _interval(list(gaps.values()), seed)
    inside = bootstrap_interval(np.concatenate([of.mean(0) for of in values.values()]), seed=seed)
    return Row(sum(map(len, values.values())), ns, tuple(np.mean(curves, axis=0).tolist()),
               (float(inside[0]), float(inside[1])), (low, high), shares(values), tested.difference, gap_low, gap_high,
               tested.p)


def _with_p(row: Row, p: float) -> Row:
    return Row(row.cells, row.ns, row.accuracy, row.of_problems, row.of_seeds, row.shares, row.difference, row.low,
               row.high, p)


def _interval(policies: Sequence[tuple[Array, ...]], seed: int, level: float = 0.95) -> tuple[float, float]:
    """Of the mean of the first array, or of the first less the second, with policies, seeds and problems drawn anew.

    Args:
        policies: for each, one or two arrays [S, P] on the same problems.
    """
    random = np.random.default_rng(seed)
    drawn = np.empty((RESAMPLES, len(policies)))
    for index, arrays in enumerate(policies):
        size = arrays[0].shape[1]
        weights = random.multinomial(size, np.full(size, 1 / size), RESAMPLES) / size
        parts = []
        for array in arrays:
            seeds = random.multinomial(len(array), np.full(len(array), 1 / len(array)), RESAMPLES) / len(array)
            parts.append(np.einsum("rs,rs->r", seeds, weights @ array.T))
        drawn[:, index] = parts[0] - parts[1] if len(parts) == 2 else parts[0]
    count = len(policies)
    chosen = random.multinomial(count, np.full(count, 1 / count), RESAMPLES) / count
    low, high = np.quantile((chosen * drawn).sum(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def shares(values: Accuracies) -> Shares:
    """Nested means: between policies counts what their reward models and their problems do not explain."""
    within = [of.mean(axis=1).var(ddof=1) for of in values.values() if len(of) > 1]
    of_prm = float(np.mean(within)) if within else float("nan")
    of_problems = float(np.mean([of.mean(axis=0).var(ddof=1) / of.shape[1] for of in values.values()]))
    if len(values) < 2:
        return Shares(float("nan"), of_problems**0.5, of_prm**0.5)
    between = float(np.var([of.mean() for of in values.values()], ddof=1))
    from_prm = np.mean([of_prm / len(of) for of in values.values()]) if within else 0.0
    return Shares(float(max(0.0, between - from_prm - of_problems)) ** 0.5, of_problems**0.5, of_prm**0.5)
