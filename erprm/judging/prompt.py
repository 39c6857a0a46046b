"""What a judging model is asked about a solution, and how its verdict is read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from erprm.errors import InputError
from erprm.judging.verdicts import texts
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
        try:
            self.text.format(question="", steps="")
        except (KeyError, IndexError, ValueError) as error:
            raise InputError(f"judge prompt: expected text with {{question}} and {{steps}}, found a problem with "
                             f"{error}") from error
        for name in ("{question}", "{steps}"):
            if name not in self.text:
                raise InputError(f"judge prompt: expected the field {name}, found none")
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            raise InputError(f"verdict pattern {self.pattern!r}: {error}") from error
        if groups < 1:
            raise InputError(f"verdict pattern {self.pattern!r}: expected a group (...) around the number, found none")
        if self.votes < 1:
            raise InputError(f"votes: expected at least 1, found {self.votes}")

    def of(self, row: StepRow) -> str:
        """The question about one solution."""
        question, steps = texts(row)
        return self.text.format(question=question, steps="\n".join(
            f"<step {number}>\n{step}\n</step {number}>" for number, step in enumerate(steps)))

    def verdict(self, answer: str, length: int) -> int | None:
        """The step that an answer names, -1 for none wrong; None where it names no step of the solution."""
        found = re.findall(self.pattern, answer)
        if not found:
            return None
        named = found[-1] if isinstance(found[-1], str) else found[-1][0]
        number = int(named) if re.fullmatch(r"-?\d{1,6}", named, re.ASCII) else length
        return number if -1 <= number < length else None
