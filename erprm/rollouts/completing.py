"""The loop that every rollout shares: the engine samples a batch while the one before is graded and committed.

A batch's completions are graded, written as one part of the store, and only then counted, so that whatever ends the
process leaves a store from which the same command goes on. Grading and writing happen in a second thread: the engine
does not wait for them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from erprm.engines.base import Completion, Engine, Sampling
from erprm.grading import GraderPool
from erprm.grading.answered import Answered
from erprm.grading.parts import PartsReport
from erprm.rollouts.plan import Batch, Plan, expand
from erprm.rollouts.store import Record, RolloutStore


class Completer:
    """Fills what a plan misses.

    Attributes:
        completions, tokens, truncated: what was sampled by this object.
        engine_seconds: wall time spent in the engine.
        answered: of the texts of these completions, prefixes included.
        parts: of their rewards, where these are composed.
    """

    def __init__(self, plan: Plan, engine: Engine, sampling: Sampling, store: RolloutStore, grader: GraderPool,
                 part_completions: int, token_budget: int | None, after: Callable[[int, int], None]) -> None:
        """
        Args:
            part_completions: completions in a part of the store, the most that a kill can lose twice over.
            token_budget: tokens that the store may hold in all, for this plan's prefixes; None: no limit.
            after: called with (completions, tokens) whenever the engine has finished a batch.
        """
        self._plan, self._engine, self._sampling = plan, engine, sampling
        self._store, self._grader, self._after = store, grader, after
        self._part, self._budget = part_completions, token_budget
        self._sampled_tokens = plan.tokens  # counted or about to be
        self.completions = self.tokens = self.truncated = 0
        self.engine_seconds = 0.0
        self.out_of_budget = False
        self.answered = Answered("completions")
        self.parts = PartsReport()

    def run(self) -> None:
        """Sample, grade and commit until nothing is missing or the budget is spent."""
        pending: Future[None] | None = None
        with ThreadPoolExecutor(1) as second:
            while (batch := self._next()) is not None:
                started = time.perf_counter()
                samples = self._engine.sample(batch.requests, self._sampling)
                self.engine_seconds += time.perf_counter() - started
                if pending is not None:
                    pending.result()
                pending = second.submit(self._finish, batch, samples)
                tokens = sum(sample.tokens for drawn in samples for sample in drawn)
                self.completions += batch.completions
                self.tokens += tokens
                self._sampled_tokens += tokens
                self._after(batch.completions, tokens)
            if pending is not None:
                pending.result()

    def _next(self) -> Batch | None:
        most = self._part
        if self._budget is not None:  # every completion may take max_tokens: the budget is never exceeded
            most = min(most, (self._budget - self._sampled_tokens) // self._sampling.max_tokens)
            if most < 1:
                self.out_of_budget = self._plan.ledger.missing() > 0
                return None
        return self._plan.next_batch(most)

    def _finish(self, batch: Batch, samples: list[list[Completion]]) -> None:
        """Grade and commit a batch, then count it."""
        graded = self._grader.verdicts(
            [(request.prefix + sample.text, problem)
             for request, problem, drawn in zip(batch.requests, batch.problems, samples, strict=True)
             for sample in drawn])
        verdicts = iter(graded)
        records = []
        for place, drawn in enumerate(samples):
            for number, sample in enumerate(drawn, start=int(batch.firsts[place])):
                verdict, problem, prefix = next(verdicts), batch.problems[place], batch.requests[place].prefix
                said = sample.finish_reason != "length" or self._grader.extraction.is_complete(
                    problem.grader, prefix + sample.text)
                verdict = verdict if said else self._grader.unsaid(verdict)
                answer = verdict.answer
                self.parts.add(verdict.parts)
                self.answered.add(prefix + sample.text, answer, cut=sample.finish_reason == "length")
                records.append(Record(
                    batch.ids[place], number, problem.id, prefix, sample.text, sample.finish_reason, sample.tokens,
                    answer, verdict.right, verdict.reward if self._grader.graded else None,
                    json.dumps(dict(verdict.parts)) if verdict.parts else None))
        self._store.commit(records)
        nodes, numbers = expand(batch)
        cut = np.array([record.finish_reason == "length" for record in records], bool)
        self.truncated += int(cut.sum())
        self._plan.record(nodes, numbers, np.array([record.right for record in records], bool), cut,
                          np.array([record.tokens for record in records], np.int64),
                          [record.text for record in records],
                          np.array([record.right if record.reward is None else record.reward for record in records],
                                   np.float64))
