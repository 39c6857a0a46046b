"""Solutions to problems, sampled from a policy, graded, and split into steps.

    with GraderPool() as grader:
        report = sample_solutions(problems, engine, Sampling(max_tokens=256), "solutions.parquet", grader, n=64)
    read_rows("solutions.parquet")           # n rows per problem, in the problems' order

The raw texts lie in a store beside the result (`solutions.parquet.store`), from which an interrupted run goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erprm.engines.base import Engine, Sampling
from erprm.errors import InputError
from erprm.files.progress import progress
from erprm.files.writing import locked
from erprm.grading import GraderPool
from erprm.grading.answered import Answered
from erprm.grading.graders import noted
from erprm.grading.parts import PartsReport
from erprm.problems import Problem
from erprm.rollouts.completing import Completer
from erprm.rollouts.plan import Plan
from erprm.rollouts.settings import store_settings
from erprm.rollouts.store import RolloutStore, read_parts
from erprm.rows import StepRow, write_rows
from erprm.splitters import choose_splitter
from erprm.steps import AUTO, gaps_to_keep, split_steps


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What `sample_solutions` did.

    Attributes:
        rows: where the solutions are; store: where the raw texts are.
        solutions: rows written; right, truncated: of these; empty: texts without a step, written as one empty step.
        answered: how many state a final answer.
        parts: what composed rewards are made of.
        splitter: by which they were cut, and, where the texts chose it, how many asked for it.
        restored: found in the store; completions, tokens: sampled now.
        grading: the grader's own report: how many answers, and how many of them could not be judged, and why.
    """

    rows: str
    store: str
    solutions: int
    right: int
    truncated: int
    empty: int
    answered: Answered
    parts: PartsReport
    splitter: str
    restored: int
    completions: int
    tokens: int
    quarantined: tuple[str, ...]
    seconds: float
    engine_seconds: float
    grading: str

    def __str__(self) -> str:
        lines = [
            f"{self.solutions:,} solutions, {self.right / max(1, self.solutions):.1%} right, {self.truncated:,} cut "
            f"off at max_tokens, {self.empty:,} empty; steps: {self.splitter}",
            f"{self.completions:,} sampled now ({self.tokens:,} tokens, {self.seconds:,.1f} s of which "
            f"{self.engine_seconds:,.1f} s in the engine), {self.restored:,} found from earlier runs",
            str(self.answered),
            *([str(self.parts)] if self.parts.count else []),
            f"grading: {self.grading}",
        ]
        if self.quarantined:
            lines.append(f"damaged, moved to quarantine and sampled again: {', '.join(self.quarantined)}")
        return "\n".join(lines)


def sample_solutions(problems: Sequence[Problem], engine: Engine, sampling: Sampling, out: str | Path,
                     grader: GraderPool, *, n: int = 1, seed: int = 0, splitter: str = "newline",
                     skip_thinking: bool = False, part_completions: int = 2048) -> SampleReport:
    """Write `n` solutions per problem to `out` (.parquet or .jsonl).

    Args:
        splitter: a name in `erprm.steps.SPLITTERS`, or "auto": what most solutions ask for.
        skip_thinking: what stands between `<think>` and `</think>` is no step.

    A row holds the steps, the outcome (1.0 or 0.0), the extracted answer, the reference answer, and whether the
    solution ended by itself. Run again, only what is missing is sampled; `n` may be raised.

    Raises:
        InputError: for no problems, n < 1, a store with other settings or another writer.
        OSError: for a full disk; what was committed is kept.
    """
    if not problems:
        raise InputError("problems: expected at least one, found an empty set")
    if n < 1 or part_completions < 1:
        raise InputError(f"n and part_completions: expected at least 1, found {n} and {part_completions}")
    started = time.perf_counter()
    settings = store_settings("sample", engine.fingerprint(), sampling, problems, seed, splitter,
                              grader.settings())
    plan = Plan(settings, splitter, seed)
    nodes = [plan.add_problem(problem) for problem in problems]
    plan.ready(roots=True)
    place = f"{out}.store"
    with locked(out), RolloutStore.open(place, settings) as store:
        restored = plan.restore(store.completed())
        plan.ledger.want_all(n, roots=True)
        with progress("sampling", plan.ledger.missing(), "solutions") as bar:
            completer = Completer(plan, engine, sampling, store, grader, part_completions, None,
                                  lambda completions, tokens: bar.advance(completions, tokens=tokens))
            completer.run()
        texts = _Texts(place, {plan.id_of(node): number for number, node in enumerate(nodes)}, n)
        chosen, votes = choose_splitter(record["text"] for _, record in texts) if splitter == AUTO else (splitter, {})
        answered = Answered("solutions")
        parts = PartsReport()
        rows = _rows(texts, problems, chosen, skip_thinking, answered, parts, grader)
        write_rows(out, rows)
        return SampleReport(
            rows=str(out), store=place, solutions=len(rows), right=sum(row.outcome == 1.0 for row in rows),
            truncated=sum(not row.finished for row in rows), empty=sum(row.steps == ("",) for row in rows),
            answered=answered, parts=parts,
            splitter=chosen + (f", which {votes.get(chosen, 0):,} of {len(rows):,} solutions ask for" if votes else ""),
            restored=restored, completions=completer.completions, tokens=completer.tokens,
            quarantined=tuple(store.quarantined), seconds=time.perf_counter() - started,
            engine_seconds=completer.engine_seconds, grading=str(grader.report))


@dataclass(frozen=True, slots=True)
class _Texts:
    """(number of the problem, record) of the first n texts of each problem in a store."""

    place: str
    numbers: Mapping[str, int]  # by prefix id
    n: int

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for table in read_parts(self.place, ["prefix_id", "sample", "text", "finish_reason", "answer", "reward",
                                              "parts"]):
            for record in table.to_pylist():
                number = self.numbers.get(record["prefix_id"])
                if number is not None and record["sample"] < self.n:
                    yield number, record


def _rows(texts: _Texts, problems: Sequence[Problem], splitter: str, skip_thinking: bool,
          answered: Answered, parts: PartsReport, grader: GraderPool) -> list[StepRow]:
    """The solutions of each problem, in order; `answered` and `parts` count them."""
    found: list[list[StepRow | None]] = [[None] * texts.n for _ in problems]
    for number, record in texts:
        problem, finished = problems[number], record["finish_reason"] == "stop"
        answered.add(record["text"], record["answer"], cut=not finished)
        found_parts = json.loads(record["parts"]) if record["parts"] else {}
        parts.add(found_parts)
        steps = split_steps(record["text"], splitter, skip_thinking=skip_thinking)
        found[number][record["sample"]] = StepRow(
            prompt=problem.question, steps=tuple(steps), finished=finished,
            outcome=grader.total(record["reward"], found_parts), problem_id=problem.id,
            solution_id=f"{problem.id}/{record['sample']}", answer=record["answer"], gold=problem.answer,
            gaps=gaps_to_keep(steps, finished), extra=noted(problem.grader))
    return [row for rows in found for row in rows if row is not None]
