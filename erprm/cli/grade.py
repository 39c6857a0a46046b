"""Grade solutions that you already have.

    erprm grade --rows solutions.jsonl --problems gsm8k:test.jsonl --out graded.parquet
    erprm grade --rows trl.jsonl --from trl --problems problems.jsonl --out graded.jsonl

The rows are this project's (prompt, steps) or any other format that `erprm convert` reads (--from). A solution belongs
to the problem with its id, or else to the one whose question is its prompt; what belongs to none is counted and left
out. Each row gets an outcome (1 right, 0 wrong), the answer that was found, the reference answer and the problem's id;
an outcome that it had is replaced. A solution that was cut off (finished: false) is right only if its answer was
complete. `erprm evaluate` and `erprm label` read the result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from erprm.cli.config import option
from erprm.cli.grading_options import GradingConfig, pool_of
from erprm.errors import InputError
from erprm.files.progress import Bar, progress
from erprm.files.records import count_records
from erprm.files.writing import locked
from erprm.formats import FORMATS, Reader, read
from erprm.grading import GraderPool
from erprm.grading.answered import Answered
from erprm.grading.graders import noted
from erprm.problems import Problem, load_problems
from erprm.rows import StepRow, write_rows
from erprm.steps import join_steps
from erprm.terminal import shortened

_BATCH = 4096  # solutions graded together


@dataclass(frozen=True)
class Config(GradingConfig):
    """Options of `erprm grade`."""

    rows: str = option(help="the solutions: .jsonl, .json or .parquet, a folder of them, datasets:NAME")
    from_: str = option("erprm", help="format of the rows", choices=tuple(FORMATS))
    problems: str = option(help="where the problems are, as for erprm sample")
    out: str = option(help="where the graded rows go: .parquet or .jsonl", writes="rows")


@dataclass(slots=True)
class _Counts:
    """What was done with the rows. `changed`: had another outcome before; `renamed`: go by the id of a problem with
    another question; `strangers`: prompts of rows that belong to no problem."""

    graded: int = 0
    right: int = 0
    changed: int = 0
    renamed: int = 0
    unmatched: int = 0
    strangers: list[str] = field(default_factory=list)
    answered: Answered = field(default_factory=lambda: Answered("solutions"))


def run(config: Config) -> int | None:
    """Grade and write; print the counts and where the rows are."""
    problems = load_problems(config.problems)
    reader, counts = read(config.rows, config.from_), _Counts()
    with locked(config.out), progress("grading", count_records(config.rows), "solutions") as bar, \
            pool_of(config, problems) as grader:
        write_rows(config.out, _graded(reader, problems, grader, counts, bar))
        verdicts = str(grader.report)
    print(f"read {reader.report}")
    print(f"{counts.graded:,} solutions graded, {counts.right / counts.graded:.1%} right; {counts.changed:,} had "
          f"another outcome before; verdicts: {verdicts}")
    if counts.renamed:
        print(f"{counts.renamed:,} have the id of a problem, but not its question as their prompt")
    if counts.unmatched:
        print(f"{counts.unmatched:,} belong to no problem of {config.problems} and were left out, for instance "
              + "; ".join(counts.strangers))
    print(counts.answered)
    print(config.out)
    return None


def _graded(reader: Reader, problems: list[Problem], grader: GraderPool, counts: _Counts, bar: Bar,
            ) -> Iterator[StepRow]:
    """The rows of known problems with their verdicts. Raises InputError when there is none."""
    by_id = {problem.id: problem for problem in problems}
    by_question = {problem.question: problem for problem in problems}
    rows = iter(reader)
    while batch := list(itertools.islice(rows, _BATCH)):
        owned = []
        for row in batch:
            problem = by_id.get(row.problem_id) or by_question.get(row.prompt)
            if problem is not None:
                owned.append((row, problem))
                counts.renamed += row.prompt != problem.question
                continue
            counts.unmatched += 1
            if len(counts.strangers) < 3:
                counts.strangers.append(f"{shortened(row.problem_id, 40)!r}: {shortened(row.prompt, 60)!r}")
        yield from _verdicts(owned, grader, counts)
        bar.advance(reader.report.records - bar.done)
    if not counts.graded:
        raise InputError(f"{reader.path}: expected solutions to problems that are known, found none: {reader.report}"
                         + "".join(f"; no problem {stranger}" for stranger in counts.strangers))


def _verdicts(owned: list[tuple[StepRow, Problem]], grader: GraderPool, counts: _Counts) -> Iterator[StepRow]:
    texts = [join_steps(row.steps, gaps=row.gaps) for row, _ in owned]
    verdicts = grader.verdicts((text, problem) for text, (_, problem) in zip(texts, owned, strict=True))
    for text, (row, problem), verdict in zip(texts, owned, verdicts, strict=True):
        said = row.finished or grader.extraction.is_complete(problem.grader, text)
        verdict = verdict if said else grader.unsaid(verdict)
        outcome, answer = verdict.reward, verdict.answer
        counts.graded += 1
        counts.right += outcome == 1.0
        counts.changed += row.outcome not in (None, outcome)
        counts.answered.add(text, answer, cut=not row.finished)
        yield replace(row, outcome=outcome, answer=answer, gold=problem.answer, problem_id=problem.id,
                      extra={**{name: value for name, value in row.extra.items() if name != "grader"},
                             **noted(problem.grader)})
