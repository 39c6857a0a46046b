r"""When is an answer right? One entry for each way to decide: `GRADERS`.

A grader is named by its family and, after a colon, what it needs: "math", "reasoning-gym:countdown",
"python:mymodule:check". Families without a process of their own compare an answer with the reference in this process,
in bounded time; the others run in workers that are killed when they take too long (`erprm.grading.verifiers`).

`None`, an empty answer and a missing reference are never right, whatever they are compared with.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from erprm.errors import InputError
from erprm.grading.answers import choice_letter, read
from erprm.grading.comparing import equal, rounds_to, vote
from erprm.grading.extract import after_thinking, extract_answer, last_line, marked_answer
from erprm.grading.forms import Leaf, Relation
from erprm.grading.quantities import in_full
from erprm.rows import StepRow

_ROUNDED = 4  # significant digits from which a decimal may stand for a fraction by `numeric`: 0.3333 for 1/3


@dataclass(frozen=True, slots=True)
class Grader:
    """A family of graders.

    Attributes:
        help: one line, when an answer is right.
        answer: what of a completion's text is judged; None where the text states no answer.
        compare: (answer, reference) -> verdict in this process; None: not certain here. None for a family that always
            runs in a worker.
        needs: the names that follow after the family, as help shows them.
        runs_code: it imports what the problem file names.
        vote: an answer as it counts in a majority vote: the same text for the spellings of one answer. As it is for
            those of a task of its own, where expressions of equal value are different answers.
    """

    help: str
    answer: Callable[[str], str | None]
    compare: Callable[[str, str], bool | None] | None = None
    needs: tuple[str, ...] = ()
    runs_code: bool = False
    vote: Callable[[str], str] = str

    @property
    def own_reference(self) -> bool:
        """Whether the reference may be a whole solution, of which the marked answer counts."""
        return self.compare is not None


def numeric_equal(answer: str, gold: str) -> bool:
    """The same number; units set aside; 50% is 50 and 0.5; a decimal of enough digits equals what rounds to it."""
    left, right = _number(answer), _number(gold)
    if left is None or right is None:
        return False
    for a in _scales(left):
        for b in _scales(right):
            one, two = left.value.rational, right.value.rational
            assert one is not None
            assert two is not None
            if one * a == two * b:
                return True
            if bool(left.value.digits) != bool(right.value.digits):
                decimal, scale, exact, other = (left, a, right, b) if left.value.digits else (right, b, left, a)
                if rounds_to(decimal.value, scale, exact.value, other, _ROUNDED):
                    return True
    return False


def _number(answer: str) -> Leaf | None:
    """The number that an answer is, or that it names: x = 12, 3k."""
    forms = (form.right if isinstance(form, Relation) and form.name and form.sign == "=" else form
             for form in (*read(answer), *read(in_full(answer) or "")))
    return next((form for form in forms if isinstance(form, Leaf) and form.value.rational is not None), None)


def _scales(number: Leaf) -> list[Fraction]:
    return [number.unit.scale, number.unit.scale / 100] if number.unit.is_percent else [number.unit.scale]


def exact_equal(answer: str, gold: str) -> bool:
    """The same text, up to the amount of white space; an empty text equals nothing."""
    return bool(answer.split()) and answer.split() == gold.split()


def choice_equal(answer: str, gold: str) -> bool:
    """The same letter."""
    letter = choice_letter(answer)
    return letter is not None and letter == choice_letter(gold)


def _choice_answer(text: str) -> str | None:
    """The marked answer, else the first or the last line that is a letter, else the whole text."""
    spoken = after_thinking(text)
    marked = marked_answer(spoken)
    if marked is not None:
        return marked
    lines = [line.strip() for line in (spoken.strip().partition("\n")[0], last_line(spoken) or "")]
    return next((line for line in lines if re.fullmatch(r"[(*\s]*[A-Za-z][)*.\s]*", line)), spoken.strip() or None)


GRADERS: dict[str, Grader] = {
    "math": Grader("equal as mathematics, by exact comparison or else by algebra", extract_answer, equal,
                   vote=vote),
    "numeric": Grader("the same number; units, currency and separators set aside; 50% is 50 and 0.5", extract_answer,
                      numeric_equal, vote=vote),
    "exact": Grader("the same text up to white space",
                    lambda text: (marked_answer(after_thinking(text)) or after_thinking(text)).strip() or None,
                    exact_equal, vote=lambda answer: " ".join(answer.split())),
    "choice": Grader("the same letter", _choice_answer, choice_equal,
                     vote=lambda answer: choice_letter(answer) or answer.strip()),
    "reasoning-gym": Grader("the task's own verifier scores it high enough",
                            lambda text: marked_answer(after_thinking(text)) or last_line(text), needs=("TASK",)),
    "python": Grader("your function (completion text, Problem) returns a reward from 0 to 1, of which enough is right",
                     lambda text: text, needs=("MODULE", "FUNCTION"), runs_code=True),
}


def grader_names() -> str:
    """All kinds as help shows them: "math, ..., python:MODULE:FUNCTION"."""
    return ", ".join(":".join((family, *grader.needs)) for family, grader in GRADERS.items())


def grader_of(kind: str) -> Grader:
    """The family of a kind. Raises InputError."""
    family, *rest = kind.split(":")
    grader = GRADERS.get(family)
    if grader is None or len(rest) != len(grader.needs) or not all(rest):
        raise InputError(f"grader: expected one of {grader_names()}, found {kind!r:.80}")
    return grader


def noted(kind: str) -> dict[str, str]:
    """What a row holds in `extra` so that its answer votes by its grader's rules; nothing for mathematics."""
    return {} if grader_of(kind).vote is vote else {"grader": kind}


def ballot(row: StepRow) -> str | None:
    """What a solution votes for: one text for all spellings of its answer; None without an answer."""
    return None if row.answer is None else grader_of(str(row.extra.get("grader", "math"))).vote(row.answer)


def reference_for(kind: str, gold: str) -> str:
    r"""The reference answer itself, where `gold` may be a whole reference solution with "####" or `\boxed`."""
    if grader_of(kind).own_reference:
        return marked_answer(gold) or gold.strip()
    return gold
