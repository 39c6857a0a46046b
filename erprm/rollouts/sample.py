"""Solutions to problems, sampled from a policy, graded, and split into steps.

    with GraderPool() as grader:
        report = sample_solutions(problems, engine, Sampling(max_tokens=256), "solutions.parquet", grader, n=64)
    read_rows("solutions.parquet")           # n rows per problem, in the problems' order

The raw texts lie in a store beside the result (`solutions.parquet.store`), from which an interrupted run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from erprm.engines.base import Engine, Sampling
from erprm.errors import InputError
from erprm.files.progress import progress
from erprm.files.writing import locked
from erprm.grading import GraderPool
from erprm.problems import Problem
from erprm.rollouts.completing import Completer
from erprm.rollouts.plan import Plan
from erprm.rollouts.settings import store_settings
from erprm.rollouts.store import RolloutStore, read_parts
from erprm.rows import StepRow, write_rows
from erprm.steps import split_steps


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What `sample_solutions` did.

    Attributes:
        rows: where the solutions are; store: where the raw texts are.
        solutions: rows written; right, truncated: of these; empty: texts without a step, written as one empty step.
        restored: found in the store; completions, tokens: sampled now.
    """

    rows: str
    store: str
    solutions: int
    right: int
    truncated: int
    empty: int
    restored: int
    completions: int
    tokens: int
    quarantined: tuple[str, ...]
    seconds: float
    engine_seconds: float

    def __str__(self) -> str:
        lines = [
            f"{self.solutions:,} solutions, {self.right / max(1, self.solutions):.1%} right, {self.truncated:,} cut "
            f"off at max_tokens, {self.empty:,} empty",
            f"{self.completions:,} sampled now ({self.tokens:,} tokens, {self.seconds:,.1f} s of which "
            f"{self.engine_seconds:,.1f} s in the engine), {self.restored:,} found from earlier runs",
        ]
        if self.quarantined:
            lines.append(f"damaged, moved to quarantine and sampled again: {', '.join(self.quarantined)}")
        return "\n".join(lines)


def sample_solutions(problems: Sequence[Problem], engine: Engine, sampling: Sampling, out: str | Path,
                     grader: GraderPool, *, n: int = 1, seed: int = 0, splitter: str = "newline",
                     part_completions: int = 2048) -> SampleReport:
    """Write `n` solutions per problem to `out` (.parquet or .jsonl).

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
    settings = store_settings("sample", engine.fingerprint(), sampling, problems, seed, splitter)
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
        rows = _rows(place, plan, problems, nodes, n, splitter)
        write_rows(out, rows)
        return SampleReport(
            rows=str(out), store=place, solutions=len(rows), right=sum(row.outcome == 1.0 for row in rows),
            truncated=sum(not row.finished for row in rows), empty=sum(row.steps == ("",) for row in rows),
            restored=restored, completions=completer.completions, tokens=completer.tokens,
            quarantined=tuple(store.quarantined), seconds=time.perf_counter() - started,
            engine_seconds=completer.engine_seconds)


def _rows(place: str, plan: Plan, problems: Sequence[Problem], nodes: Sequence[int], n: int, splitter: str,
          ) -> list[StepRow]:
    """The first n solutions of each problem, in order."""
    index = {plan.id_of(node): number for number, node in enumerate(nodes)}
    found: list[list[StepRow | None]] = [[None] * n for _ in problems]
    for table in read_parts(place, ["prefix_id", "sample", "text", "finish_reason", "answer", "right"]):
        for record in table.to_pylist():
            number = index.get(record["prefix_id"])
            if number is None or record["sample"] >= n:
                continue
            problem, text = problems[number], record["text"]
            found[number][record["sample"]] = StepRow(
                prompt=problem.question, steps=tuple(split_steps(text, splitter)) if text.strip() else ("",),
                outcome=float(record["right"]), finished=record["finish_reason"] == "stop", problem_id=problem.id,
                solution_id=f"{problem.id}/{record['sample']}", answer=record["answer"], gold=problem.answer)
    return [row for rows in found for row in rows if row is not None]
