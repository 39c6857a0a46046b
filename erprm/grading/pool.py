"""Many answers graded at once: each distinct (answer, reference) pair once, in processes that can be killed.

    with GraderPool(workers=4, timeout=10) as pool:
        right = pool.grade_many([(completion.text, problem), ...])   # list of bool, in order
        print(pool.report)                                            # 5,000 answers, 412 distinct, 2 timed out

Short answers are read and compared in this process where that is certain; long texts, long answers and what is left go
to the workers in lists, at most `timeout` seconds each. What takes longer is wrong, and counted as such in the report;
its worker is killed and replaced. No signals are used, so any thread may grade, and none waits for another one's
answers but where both need a worker.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from erprm.errors import InputError
from erprm.grading.dispatch import Outcome, Workers
from erprm.grading.extract import after_thinking
from erprm.grading.extraction import Extraction
from erprm.grading.graders import grader_of, reference_for
from erprm.grading.verifiers import ANSWER_ERRORS, Reading, Task
from erprm.problems import Problem

SHORT_TEXT, SHORT_ANSWER = 20_000, 500  # characters that are read, and compared, in this process: milliseconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a completion is right.

    Attributes:
        right: the verdict: the reward reaches the pool's threshold.
        answer: what was compared; None where the text states no answer.
        reason: "" or why the answer is wrong besides not being equal: "no answer", "timeout", "crash", "error ...".
        reward: in [0, 1]; only 0 or 1 where the pool is strict.
        parts: the rewards that `reward` is composed of, by name (`erprm.grading.composite`).
    """

    right: bool
    answer: str | None
    reason: str = ""
    reward: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)


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
        graded: rewards between 0 and 1 count as they are; else the reward is 1 where the verdict is right, or else 0.

    Raises:
        InputError: for workers < 1 or a timeout that is not positive.
    """

    def __init__(self, workers: int | None = None, timeout: float = 10.0, threshold: float = 1.0,
                 extraction: Extraction | None = None, graded: bool = False) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"workers: expected at least 1, found {workers}")
        if not timeout > 0:
            raise InputError(f"timeout: expected seconds > 0, found {timeout}")
        self.threshold, self.extraction, self.graded = threshold, extraction or Extraction(), graded
        self.report = GradingReport()
        self._workers = Workers(workers or len(os.sched_getaffinity(0)), timeout)
        self._cache: dict[Hashable, Outcome] = {}
        self._lock = threading.Lock()  # of the cache and the report, held for moments
        self._at_workers = threading.Lock()

    def grade_many(self, completions: Sequence[tuple[str, Problem]]) -> list[bool]:
        """Whether each (text, problem) is right, in order. See `verdicts`."""
        return [verdict.right for verdict in self.verdicts(completions)]

    def verdicts(self, completions: Iterable[tuple[str, Problem]]) -> list[Verdict]:
        """The verdict on each (text, problem), in order.

        Raises:
            InputError: for a grader that does not exist.
            MissingExtraError: where a grader's package is not installed.
        """
        asked = [(text, problem) for text, problem in completions]
        references = {number: _Reference.of(problem)
                      for number, problem in {id(problem): problem for _, problem in asked}.items()}
        answers = self._answers(dict.fromkeys((problem.grader, text) for text, problem in asked))
        stated = [answers[problem.grader, text] for text, problem in asked]
        keys: list[Hashable] = [(outcome.answer, references[id(problem)].key)
                                for outcome, (_, problem) in zip(stated, asked, strict=True)]
        unknown: dict[Hashable, Task] = {}
        for key, outcome, (_, problem) in zip(keys, stated, asked, strict=True):
            if key in self._cache or key in unknown or outcome.reason:
                continue
            decided = _decide_here(outcome.answer, references[id(problem)])
            if decided is None:
                assert outcome.answer is not None
                reference = references[id(problem)].for_worker
                unknown[key] = Task(problem.grader, outcome.answer, reference)
            else:
                self._keep(key, decided)
        self._ask_workers(unknown)
        verdicts = [Verdict(False, None, outcome.reason) if outcome.reason else
                    self._verdict(self._cache[key], outcome.answer)
                    for key, outcome in zip(keys, stated, strict=True)]
        with self._lock:
            self.report.answers += len(verdicts)
            for verdict in verdicts:
                if verdict.reason:
                    reason = verdict.reason.partition(":")[0]
                    self.report.reasons[reason] = self.report.reasons.get(reason, 0) + 1
        return verdicts

    def settings(self) -> dict[str, str]:
        """What a store of its verdicts must remember; nothing for the usual ways."""
        return {**self.extraction.settings(), **({"reward": "graded"} if self.graded else {})}

    def total(self, reward: float, parts: Mapping[str, float]) -> float:
        """The reward of a verdict that was kept, as this pool would give it."""
        return reward

    def unsaid(self, verdict: Verdict) -> Verdict:
        """The verdict on a text that was cut off before its answer was complete."""
        return Verdict(False, None, verdict.reason)

    def _verdict(self, found: Outcome, answer: str | None) -> Verdict:
        right = found.reward > 0 and found.reward >= self.threshold
        return Verdict(right, answer, found.reason, found.reward if self.graded else float(right))

    def _answers(self, texts: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Outcome]:
        """What each (grader, text) states, or why that could not be read."""
        answers: dict[tuple[str, str], Outcome] = {}
        long: list[Reading] = []

        def take(index: int, outcome: Outcome) -> None:
            answers[long[index].kind, long[index].text] = outcome

        for kind, text in texts:
            outcome = self._read_here(kind, text)
            if outcome is None:
                long.append(Reading(kind, text, self.extraction))
            else:
                answers[kind, text] = outcome
        if long:
            with self._at_workers:  # not kept: long texts hardly repeat
                self._workers.run(long, take)
        return answers

    def _read_here(self, kind: str, text: str) -> Outcome | None:
        """What the text states; None where that is for a worker to find."""
        if len(text) > SHORT_TEXT and not grader_of(kind).runs_code and len(after_thinking(text)) > SHORT_TEXT:
            return None
        try:
            return Outcome(0.0, answer=self.extraction.reader(kind)(text))
        except ANSWER_ERRORS:
            return None  # a worker says and counts it

    def _keep(self, key: Hashable, outcome: Outcome, calls: int = 0) -> None:
        with self._lock:
            if key not in self._cache:
                self._cache[key] = outcome
                self.report.distinct += 1
                self.report.calls += calls

    def _ask_workers(self, unknown: Mapping[Hashable, Task]) -> None:
        if unknown:
            with self._at_workers:
                left = [key for key in unknown if key not in self._cache]  # another thread may have asked meanwhile
                self._workers.run([unknown[key] for key in left],
                                  lambda index, outcome: self._keep(left[index], outcome, 1))  # kept at once

    def close(self) -> None:
        """End the workers. The pool may be used again; it starts new ones."""
        with self._at_workers:
            self._workers.close()

    def __enter__(self) -> GraderPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Reference:
    """What an answer is compared with.

    Attributes:
        problem: kept, so that its id() stays its own.
        key: what a verdict depends on besides the answer.
        for_worker: the problem with its reference answer alone, where the grader is ours.
    """

    problem: Problem
    key: Hashable
    for_worker: Problem

    @classmethod
    def of(cls, problem: Problem) -> _Reference:
        if grader_of(problem.grader).own_reference:
            reference = reference_for(problem.grader, problem.answer)
            return cls(problem, (problem.grader, reference), Problem(problem.id, "", reference))
        return cls(problem, (problem.grader, problem.answer, problem.question, problem.id,
                             json.dumps(dict(problem.metadata), sort_keys=True, default=repr)), problem)


def _decide_here(answer: str | None, reference: _Reference) -> Outcome | None:
    """The verdict; None where that is for a worker to find."""
    if answer is None:
        return Outcome(0.0, "no answer")
    compare = grader_of(reference.problem.grader).compare
    if compare is None or len(answer) > SHORT_ANSWER or len(reference.for_worker.answer) > SHORT_ANSWER:
        return None
    try:
        right = compare(answer, reference.for_worker.answer)
    except ANSWER_ERRORS:
        return None
    return None if right is None else Outcome(float(right))
