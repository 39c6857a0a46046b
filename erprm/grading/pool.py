"""Many answers graded at once: each distinct (answer, reference) pair once, in processes that can be killed.

    with GraderPool(workers=4, timeout=10) as pool:
        right = pool.grade_many([(completion.text, problem), ...])   # list of bool, in order
        print(pool.report)                                            # 5,000 answers, 412 distinct, 2 timed out

Answers are extracted and compared in this process where that is certain (`graders.decide`); what is left goes to the
workers in lists, at most `timeout` seconds an answer. An answer that takes longer is wrong, and counted as such in the
report; its worker is killed and replaced. No signals are used, so any thread may grade.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from erprm.errors import InputError
from erprm.grading.dispatch import Outcome, Workers
from erprm.grading.extraction import Extraction
from erprm.grading.graders import grader_of, reference_for
from erprm.grading.verifiers import Task
from erprm.problems import Problem


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a completion is right.

    Attributes:
        right: the verdict.
        answer: what was compared; None where the text states no answer.
        reason: "" or why the answer is wrong besides not being equal: "no answer", "timeout", "crash", "error ...".
    """

    right: bool
    answer: str | None
    reason: str = ""


@dataclass(slots=True)
class GradingReport:
    """What a pool has done since it was made."""

    answers: int = 0
    distinct: int = 0
    calls: int = 0  # answers sent to a worker; the rest were decided without one
    reasons: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"{self.answers:,} answers, {self.distinct:,} distinct, {self.calls:,} graded by workers"]
        parts += [f"{count:,} {reason}" for reason, count in sorted(self.reasons.items())]
        return "; ".join(parts)


class GraderPool:
    """Grades completions with the graders of their problems. Also a context manager.

    Args:
        workers: processes; the number of CPUs where None. They start when first needed.
        timeout: seconds of wall time for one answer; imports do not count.
        threshold: the least score of a task's verifier or a user's function that is right.
        extraction: where answers stand in completions.

    Raises:
        InputError: for workers < 1 or a timeout that is not positive.
    """

    def __init__(self, workers: int | None = None, timeout: float = 10.0, threshold: float = 1.0,
                 extraction: Extraction | None = None) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"workers: expected at least 1, found {workers}")
        if not timeout > 0:
            raise InputError(f"timeout: expected seconds > 0, found {timeout}")
        self.threshold, self.extraction = threshold, extraction or Extraction()
        self.report = GradingReport()
        self._workers = Workers(workers or len(os.sched_getaffinity(0)), timeout)
        self._cache: dict[Hashable, Outcome] = {}
        self._lock = threading.Lock()

    def grade_many(self, completions: Sequence[tuple[str, Problem]]) -> list[bool]:
        """Whether each (text, problem) is right, in order. See `verdicts`."""
        return [verdict.right for verdict in self.verdicts(completions)]

    def verdicts(self, completions: Iterable[tuple[str, Problem]]) -> list[Verdict]:
        """The verdict on each (text, problem), in order.

        Raises:
            InputError: for a grader that does not exist.
            MissingExtraError: where a grader's package is not installed.
        """
        with self._lock:
            return self._verdicts(completions)

    def _verdicts(self, completions: Iterable[tuple[str, Problem]]) -> list[Verdict]:
        answers: list[str | None] = []
        keys: list[Hashable] = []
        extracted: dict[tuple[str, str], str | None] = {}
        problem_keys: dict[int, tuple[Problem, Hashable]] = {}  # the problem is kept, so that its id() stays its own
        unknown: dict[Hashable, Task] = {}
        for text, problem in completions:
            if id(problem) not in problem_keys:
                problem_keys[id(problem)] = (problem, _problem_key(problem))
            source = (problem.grader, text)
            if source not in extracted:
                extracted[source] = self.extraction.reader(problem.grader)(text)
            answer = extracted[source]
            key: Hashable = (answer, problem_keys[id(problem)][1])
            answers.append(answer)
            keys.append(key)
            if key in self._cache or key in unknown:
                continue
            self.report.distinct += 1
            outcome = _decide_here(answer, problem)
            if outcome is not None:
                self._cache[key] = outcome
            else:
                assert answer is not None
                unknown[key] = Task(problem.grader, answer, _for_worker(problem), self.threshold)
        self._ask_workers(unknown)
        verdicts = [Verdict(self._cache[key].right, answer, self._cache[key].reason)
                    for key, answer in zip(keys, answers, strict=True)]
        self.report.answers += len(verdicts)
        for verdict in verdicts:
            if verdict.reason:
                reason = verdict.reason.partition(":")[0]
                self.report.reasons[reason] = self.report.reasons.get(reason, 0) + 1
        return verdicts

    def _ask_workers(self, unknown: dict[Hashable, Task]) -> None:
        order = list(unknown)

        def take(index: int, outcome: Outcome) -> None:  # kept at once: what was graded survives an interruption
            self.report.calls += order[index] not in self._cache
            self._cache[order[index]] = outcome

        self._workers.run(list(unknown.values()), take)

    def close(self) -> None:
        """End the workers. The pool may be used again; it starts new ones."""
        with self._lock:
            self._workers.close()

    def __enter__(self) -> GraderPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def _problem_key(problem: Problem) -> Hashable:
    """What a verdict depends on besides the answer."""
    if grader_of(problem.grader).own_reference:
        return problem.grader, reference_for(problem.grader, problem.answer)
    return (problem.grader, problem.answer, problem.question, problem.id,
            json.dumps(dict(problem.metadata), sort_keys=True, default=repr))


def _decide_here(answer: str | None, problem: Problem) -> Outcome | None:
    if answer is None:
        return Outcome(False, "no answer")
    compare = grader_of(problem.grader).compare
    if compare is None:
        return None
    right = compare(answer, reference_for(problem.grader, problem.answer))
    return None if right is None else Outcome(right)


def _for_worker(problem: Problem) -> Problem:
    """The problem with its reference answer alone, where the grader is ours."""
    if not grader_of(problem.grader).own_reference:
        return problem
    return Problem(problem.id, "", reference_for(problem.grader, problem.answer))
