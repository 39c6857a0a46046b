r"""Which part of a completion is its final answer, for policies whose mark is none that `extract` knows.

    Extraction()                                      # what the grader looks for: a box, "The answer is", "####", ...
    Extraction(answer="last-number")                  # the last number, whatever stands before it
    Extraction(answer_pattern=r"^A: (.*)$")           # the group of the last match

Whichever it is, what a thinking block holds does not count. Functions of users (`python:...`) see the whole text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import regex

from erprm.errors import InputError
from erprm.grading.extract import after_thinking, last_number
from erprm.grading.graders import grader_of
from erprm.options import check, option

MARKED, LAST_NUMBER = "marked", "last-number"
SECONDS = 1.0  # of a pattern in one text: where it backtracks for longer there is no answer


@dataclass(frozen=True)
class Extraction:
    """How answers are found in completions; references are read as ever.

    Raises:
        InputError: for a pattern that is no regular expression or has no group, and for both ways at once.
    """

    answer: str = option(MARKED, choices=(MARKED, LAST_NUMBER), help=(
        'where the final answer stands: behind a mark (a box, "####", "The answer is"), or the text\'s last number'))
    answer_pattern: str | None = option(None, help=(
        "regular expression with a group around the final answer, for a policy with a mark of its own, as in "
        "'^A: (.*)$'; the last match counts"))

    def __post_init__(self) -> None:
        check(self)
        if self.answer_pattern is None:
            return
        if self.answer != MARKED:
            raise InputError(f"answer_pattern: expected no --answer beside it, found {self.answer}")
        try:
            groups = regex.compile(self.answer_pattern).groups
        except regex.error as error:
            raise InputError(f"answer_pattern: expected a regular expression, found {self.answer_pattern!r}: {error}"
                             ) from error
        if groups < 1:
            raise InputError("answer_pattern: expected a group (...) around the answer, as in '^A: (.*)$', found "
                             f"{self.answer_pattern!r}")

    def reader(self, kind: str) -> Callable[[str], str | None]:
        """What finds the answer in a completion that the grader `kind` judges; None where there is none."""
        grader = grader_of(kind)
        if grader.runs_code:
            return grader.answer
        if self.answer_pattern is not None:
            return self._match
        return last_number if self.answer == LAST_NUMBER else grader.answer

    def is_complete(self, kind: str, text: str) -> bool:
        r"""Whether the answer in a text that was cut off would stay the same if the text went on.

        "#### 12" may have been about to become "#### 120"; "\boxed{12}" and "#### 12" with a line break after it may
        not. A user's own function sees whole texts, and a text that was cut off is not one.
        """
        if grader_of(kind).runs_code:
            return False
        reader = self.reader(kind)
        answer = reader(text)
        return answer is not None and all(reader(text + more) == answer for more in ("0", "x"))

    def settings(self) -> Mapping[str, str]:
        """What a store must remember; nothing for the usual way, as stores of earlier versions have it."""
        if self.answer_pattern is not None:
            return {"answer_pattern": self.answer_pattern}
        return {"answer": self.answer} if self.answer != MARKED else {}

    def _match(self, text: str) -> str | None:
        found = None
        try:
            for match in regex.finditer(self.answer_pattern or "", after_thinking(text), regex.MULTILINE,
                                        timeout=SECONDS):
                stated = next((group for group in match.groups() if group is not None), "")
                found = stated.strip() or found
        except TimeoutError:
            return None
        return found
