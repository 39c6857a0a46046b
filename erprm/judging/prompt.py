"""What a judging model is asked about a solution, step by step or as a whole, and how its verdict is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from erprm.errors import InputError
from erprm.judging.verdicts import texts
from erprm.problems import Problem
from erprm.rows import StepRow

TEXT = """Here is a problem and a solution to it, cut into numbered steps.

Problem:
{question}

Solution:
{steps}

Check the steps one after the other. Write down what you find, then end with one line that holds the number of the
first \\ wrong step in \\boxed{{}}, or \\boxed{{-1}} if every step is right.
"""
PATTERN = r"\\boxed\{\s*(-?\d+)\s*\}"
GRADE_PATTERN = r"\\boxed\{\s*([a-z]+|\d+(?:\.\d+)?)\s*\}"
_WORDS = {"yes": 1.0, "right": 1.0, "correct": 1.0, "true": 1.0, "no": 0.0, "wrong": 0.0, "incorrect": 0.0,
          "false": 0.0}


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    r"""What a judge is asked, and how its verdict is read.

    Attributes:
        text: with the fields {question} and {steps}; the steps are put as "<step 0>...</step 0>".
        pattern: a regular expression whose first group is the step's number from 0, or -1; its last match counts.
        votes: answers to each question; the verdict is that of most of them.
    """

    text: str = TEXT
    pattern: str = PATTERN
    votes: int = 1

    def __post_init__(self) -> None:
        _check(self.text, ("question", "steps"), self.pattern)
        if self.votes < 1:
            raise InputError(f"votes: expected at least 1, found {self.votes}")

    def of(self, row: StepRow) -> str:
        """The question about one solution."""
        question, steps = texts(row)
        return self.text.format(question=question, steps="\n".join(
            f"<step {number}>\n{step}\n</step {number}>" for number, step in enumerate(steps)))

    def verdict(self, answer: str, length: int) -> int | None:
        """The step that an answer names, -1 for none wrong; None where it names no step of the solution."""
        named = _last(self.pattern, answer)
        if named is None:
            return None
        number = int(named) if re.fullmatch(r"-?\d{1,6}", named, re.ASCII) else length
        return number if -1 <= number < length else None


@dataclass(frozen=True, slots=True)
class GradePrompt:
    r"""What a judge is asked about a whole solution, and how its reward is read.

    Attributes:
        text: with the fields {question} and {solution}, and {answer} for the reference answer if it is to be shown.
        pattern: a regular expression, in which case does not count, whose first group is a number from 0 to 1, or yes,
            right, correct, true, no, wrong, incorrect or false; its last match counts.
    """

    text: str
    pattern: str = GRADE_PATTERN

    def __post_init__(self) -> None:
        _check(self.text, ("question", "solution"), self.pattern, optional=("answer",))

    def of(self, solution: str, problem: Problem) -> str:
        """The question about one solution."""
        return self.text.format(question=problem.question, solution=solution, answer=problem.answer)

    def verdict(self, answer: str) -> float | None:
        """The reward in [0, 1] that an answer gives; None where it gives none."""
        named = _last(self.pattern, answer, re.IGNORECASE)
        if named is None:
            return None
        if re.fullmatch(r"\d{1,6}(\.\d{1,20})?", named, re.ASCII):
            return float(named) if float(named) <= 1 else None
        return _WORDS.get(named.strip().lower())


def _last(pattern: str, answer: str, flags: int = 0) -> str | None:
    """The first group of the last match; None without a match."""
    found = re.findall(pattern, answer, flags)
    if not found:
        return None
    return str(found[-1] if isinstance(found[-1], str) else found[-1][0])


def _check(text: str, fields: Sequence[str], pattern: str, optional: Sequence[str] = ()) -> None:
    """Raise InputError for a text without these fields, or with others, and a pattern without a group."""
    shown = " and ".join(f"{{{name}}}" for name in fields)
    try:
        text.format(**dict.fromkeys((*fields, *optional), ""))
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"judge prompt: expected text with {shown}, found a problem with {error}") from error
    for name in fields:
        if f"{{{name}}}" not in text:
            raise InputError(f"judge prompt: expected the field {{{name}}}, found none")
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise InputError(f"verdict pattern {pattern!r}: {error}") from error
    if groups < 1:
        raise InputError(f"verdict pattern {pattern!r}: expected a group (...) around the verdict, found none")
