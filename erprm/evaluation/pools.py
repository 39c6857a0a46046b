"""Scored solutions into pools of N candidates per problem, and out again for search-and-learn's plots.

    files = {"er_eta_2": list(read_rows("scored-er.parquet")), "soft": list(read_rows("scored-soft.parquet"))}
    groups = group_by_problem(files)
    pool = pool_of(groups, "min")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from erprm.errors import InputError
from erprm.evaluation.curves import Pool
from erprm.grading.graders import ballot
from erprm.rows import StepRow, row_scores
from erprm.selection import majority_choice
from erprm.selection.aggregate import aggregate_all
from erprm.selection.best_of_n import best_of_n_by_problem
from erprm.values import Array

_ENDS = {"score_low", "score_high"}


@dataclass(frozen=True)
class Groups:
    """The candidates of each problem, in one order, and by scorer their step scores.

    Attributes:
        rows: [P][N]; scores: by scorer, [P][N][L].
        ends: by scorer whose scores have intervals, [P][N] of their lower and upper ends, [L] each.
    """

    rows: Sequence[Sequence[StepRow]]
    scores: Mapping[str, Sequence[Sequence[Array]]]
    ends: Mapping[str, Sequence[Sequence[tuple[Array, Array]]]] = field(default_factory=dict)


def group_by_problem(files: Mapping[str, Iterable[StepRow]], size: int | None = None) -> Groups:
    """Bring the scored rows of several PRMs together; the files must hold the same solutions in the same order.

    Args:
        files: by scorer, rows with `scores`, one number per step, as `erprm score` writes them.
        size: use the first so many candidates of each problem; by default all must have equally many.

    Raises:
        InputError: for rows that differ between files, lack scores or an outcome, or pools of different sizes.
    """
    lists = {name: list(rows) for name, rows in files.items()}
    first, rows = next(iter(lists.items()))
    for name, other in lists.items():
        if [(row.prompt, row.steps) for row in other] != [(row.prompt, row.steps) for row in rows]:
            raise InputError(f"{name}: expected the same solutions in the same order as {first}")
    places: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if row.outcome is None:
            raise InputError(f"{first}: row {index + 1}: expected a graded solution with an outcome, found none; "
                             "erprm grade --rows ... --problems ... fills it in")
        places.setdefault(row.problem_key, []).append(index)
    if not places:
        raise InputError(f"{first}: expected at least one solution, found none")
    members = [_fit(problem, indices, size, len(next(iter(places.values())))) for problem, indices in places.items()]
    return Groups([[rows[i] for i in indices] for indices in members],
                  {name: [[step_scores(other[i], f"{name}: row {i + 1}") for i in indices] for indices in members]
                   for name, other in lists.items()},
                  {name: [[_ends(other[i]) for i in indices] for indices in members] for name, other in lists.items()
                   if all(row.score_columns.keys() >= _ENDS for row in other)})


def _ends(row: StepRow) -> tuple[Array, Array]:
    return np.array(row.score_columns["score_low"], np.float64), np.array(row.score_columns["score_high"], np.float64)


def _fit(problem: str, indices: list[int], size: int | None, first: int) -> list[int]:
    wanted = size or first
    if len(indices) < wanted or (size is None and len(indices) != wanted):
        raise InputError(f"problem {problem[:40]!r}: expected {wanted} candidates as for the first problem, found "
                         f"{len(indices)}; --size uses the first so many of each")
    return indices[:wanted]


def step_scores(row: StepRow, where: str) -> Array:
    """The scores of a row, [L]. Raises InputError naming `where`."""
    try:
        return np.array(row_scores(row), np.float64)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def pool_of(groups: Groups, aggregation: str | Mapping[str, str] = "min") -> Pool:
    """Answers, each in one spelling, outcomes and one aggregated score per candidate.

    Args:
        aggregation: of step scores; one for all scorers, or by scorer.
    """
    chosen = dict.fromkeys(groups.scores, aggregation) if isinstance(aggregation, str) else aggregation
    correct = (outcomes(groups) == 1.0).astype(np.float64)
    reduced = {name: np.array([aggregate_all(candidates, chosen[name]) for candidates in scores])
               for name, scores in groups.scores.items()}
    return Pool([[ballot(row) for row in rows] for rows in groups.rows], correct, reduced)


def outcomes(groups: Groups) -> Array:
    """[P, N] in [0, 1], the reward of each candidate; only 1 is right."""
    return np.array([[row.outcome for row in rows] for rows in groups.rows], np.float64)


def expected_rewards(groups: Groups, pool: Pool, ns: Sequence[int]) -> dict[str, list[float]]:
    """The mean reward of the candidate that each scorer picks of n, for each n, and of one at random ("reward@1");
    empty where every reward is 0 or 1, and so the accuracy."""
    rewards = outcomes(groups)
    if np.isin(rewards, (0.0, 1.0)).all():
        return {}
    found = {name: best_of_n_by_problem(scores, rewards, ns).mean(0).tolist() for name, scores in pool.scores.items()}
    return {"reward@1": [float(rewards.mean())] * len(ns), **found}


def search_and_learn_rows(groups: Groups, name: str, aggregation: str, ns: Sequence[int]) -> Iterator[StepRow]:
    """The rows with the fields of search-and-learn's files: step scores and `pred_{naive,weighted,maj}@n`.

    There `naive` is best-of-n and predictions are taken from the first n candidates, written as \\boxed{answer},
    of an answer in several spellings the first one.
    """
    for rows, steps in zip(groups.rows, groups.scores[name], strict=True):
        scores = aggregate_all(steps, aggregation)
        answers, ballots = [row.answer for row in rows], [ballot(row) for row in rows]
        first = zip(reversed(ballots), reversed(answers), strict=True)
        written: dict[Any, str | None] = dict(first)  # each answer in its first spelling
        shared: dict[str, Any] = {"pred": _boxed(answers[int(scores.argmax())])}
        for n in ns:
            shared[f"pred_naive@{n}"] = _boxed(answers[int(scores[:n].argmax())])
            shared[f"pred_weighted@{n}"] = _boxed(written.get(majority_choice(ballots[:n], scores[:n])))
            shared[f"pred_maj@{n}"] = _boxed(written.get(majority_choice(ballots[:n])))
        for row, part in zip(rows, steps, strict=True):
            yield replace(row, scores=tuple(part.tolist()), extra=shared)


def _boxed(answer: object) -> str:
    return f"\\boxed{{{'' if answer is None else answer}}}"
