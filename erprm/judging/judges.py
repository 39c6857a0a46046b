"""Judges of steps: a task's own checker, or verdicts that stand in a file.

    judge = program(load_problems("reasoning-gym:countdown?size=100"))
    judged, report = judge_rows(rows, judge, "program")
    print(report)                                     # 4,000 judged; 12 without a problem

A judge takes a row and returns its first wrong step (None: all are right), or raises `NoVerdictError` with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from erprm.judging.verdicts import by_texts, texts, verdict_row
from erprm.problems import Problem
from erprm.problems.tasks import TASKS, Task
from erprm.rows import StepRow


class NoVerdictError(Exception):
    """A row that a judge cannot judge; the message is the reason, the same for all such rows."""


Judge = Callable[[StepRow], int | None]


@dataclass
class JudgeReport:
    """How many rows were judged, and why others were not.

    Attributes:
        wrong: rows with a wrong step.
        clean: rows without.
        skipped: rows by reason.
    """

    wrong: int = 0
    clean: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        judged = self.wrong + self.clean
        parts = [f"judged: {judged:,} solutions, a wrong step in {self.wrong:,}"]
        parts += [f"{count:,} {reason}" for reason, count in sorted(self.skipped.items())]
        return "; ".join(parts)


def judge_rows(rows: Iterable[StepRow], judge: Judge, name: str) -> tuple[list[StepRow], JudgeReport]:
    """A verdict on every row that `judge` can judge, and the report."""
    report = JudgeReport()
    verdicts = []
    for row in rows:
        try:
            wrong = judge(row)
        except NoVerdictError as reason:
            report.skipped[str(reason)] += 1
            continue
        report.wrong += wrong is not None
        report.clean += wrong is None
        verdicts.append(verdict_row(row, wrong, name))
    return verdicts, report


def task_of(problem: Problem) -> Task | None:
    """The task that a problem is of; None where no step checker knows it."""
    return TASKS.get(str(problem.metadata.get("source_dataset", "")))


def program(problems: Iterable[Problem]) -> Judge:
    """Steps judged by the checker of the problem's task (exact search), for problems of `erprm.problems.tasks`."""
    by_id: dict[str, Problem] = {}
    by_question: dict[str, Problem] = {}
    for problem in problems:
        by_id[problem.id] = problem
        by_question.setdefault(problem.question, problem)

    def judge(row: StepRow) -> int | None:
        problem = by_id.get(row.problem_id) or by_question.get(row.prompt)
        if problem is None:
            raise NoVerdictError("without a problem")
        checker = task_of(problem)
        if checker is None:
            raise NoVerdictError("of tasks without a step checker")
        return checker.first_wrong(problem.metadata, [step.strip() for step in row.steps])

    return judge


def from_verdicts(verdicts: Iterable[StepRow]) -> Judge:
    """Steps judged as labelled rows say, matched by question and steps. Raises InputError for verdicts that differ."""
    known = by_texts(verdicts)

    def judge(row: StepRow) -> int | None:
        key = texts(row)
        if key not in known:
            raise NoVerdictError("without a verdict in the file")
        return known[key]

    return judge
