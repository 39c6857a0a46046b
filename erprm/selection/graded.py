"""What a search found, as graded rows.

    rows = graded_rows(problems, METHODS["smc"].search(questions, engine, score, options), grader)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from erprm.grading import GraderPool
from erprm.grading.graders import ballot, noted
from erprm.problems import Problem
from erprm.rows import StepRow
from erprm.selection.search import Path
from erprm.selection.voting import majority_choice
from erprm.steps import Steps, gaps_to_keep, join_steps


def graded_rows(problems: Sequence[Problem], found: Sequence[Sequence[Path]], grader: GraderPool,
                votes: bool = False) -> list[StepRow]:
    """A row for every solution that has a step, in order, with outcome, answer and step scores where it has any.

    Args:
        votes: those with a problem's most frequent answer come first.
    """
    rows = list(_rows(problems, found))
    by_id = {problem.id: problem for problem in problems}
    verdicts = grader.verdicts((join_steps(row.steps, gaps=row.gaps), by_id[row.problem_id]) for row in rows)
    rows = [replace(row, outcome=verdict.reward, answer=verdict.answer,
                    extra=noted(by_id[row.problem_id].grader))
            for row, verdict in zip(rows, verdicts, strict=True)]
    return _by_votes(rows) if votes else rows


def _by_votes(rows: Sequence[StepRow]) -> list[StepRow]:
    ordered: list[StepRow] = []
    for _, of_problem in itertools.groupby(rows, key=lambda row: row.problem_id):
        members = [(ballot(row), row) for row in of_problem]
        chosen = majority_choice([vote for vote, _ in members])
        ordered += [row for _, row in sorted(members, key=lambda pair: pair[0] is None or pair[0] != chosen)]
    return ordered


def _rows(problems: Sequence[Problem], found: Sequence[Sequence[Path]]) -> Iterator[StepRow]:
    for problem, paths in zip(problems, found, strict=True):
        for rank, path in enumerate(paths):
            if path.steps:
                yield StepRow(problem.question, path.steps, finished=path.finished, problem_id=problem.id,
                              solution_id=f"{problem.id}/{rank}", gold=problem.answer,
                              gaps=gaps_to_keep(Steps(path.steps, path.gaps), path.finished),
                              scores=path.scores or None,
                              score_columns={"score_low": path.low, "score_high": path.high} if path.low else {})
