r"""When is an answer right? The graders that need no other process, and the sound part of the mathematical one.

| kind                   | right when                                                             | where it runs |
|------------------------|------------------------------------------------------------------------|---------------|
| `math`                 | equal by `decide`, else by math-verify                                 | here, worker  |
| `numeric`              | the same number; units, currency and thousands separators set aside    | here          |
| `exact`                | the same text up to white space                                        | here          |
| `choice`               | the same letter                                                        | here          |
| `reasoning-gym:TASK`   | the task's own verifier scores it at least `threshold`                 | worker        |
| `python:MODULE:NAME`   | your function (completion text, Problem) returns True or enough        | worker        |

`None`, an empty answer and a missing reference are never right, whatever they are compared with.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from erprm.errors import InputError
from erprm.grading.closed_form import closed_form
from erprm.grading.extract import extract_answer, last_line, marked_answer
from erprm.grading.normalise import Number, canonical, is_word, parse_number, tidy

_LETTER = re.compile(r"\(?\s*([A-Z])\s*(?:[).:,]|$)")
_IN_BASE = re.compile(r"(?P<digits>\d+)\s*_\s*\{?\s*(?P<base>\d+)\s*\}?")
_ROUNDED = 4  # decimal places from which a decimal may stand for a fraction: 0.3333 for 1/3, but not 0.33


def decide(answer: str, gold: str) -> bool | None:
    """Whether two mathematical answers are equal, where that is certain without algebra; None where it is not.

    Equal spellings are equal. Two exact numbers without percent signs are equal or not (up to five decimal places, and
    not a decimal and a fraction: a difference may be rounding), and so are two closed forms in which nothing can have
    been rounded. Two plain words are equal only when they are the same word; algebra would take "seat" and "east" for
    equal products of letters.
    """
    if not answer.strip() or not gold.strip():
        return False
    if canonical(answer) == canonical(gold):
        return True
    left, right = parse_number(answer), parse_number(gold)
    if left is not None and right is not None:
        if left.unit and right.unit and left.unit != right.unit:
            return None
        if left.value == right.value:
            return True
        return False if _told_apart(left, right) else None
    if is_word(_plain(answer)) and is_word(_plain(gold)):
        return False
    digits = _IN_BASE.fullmatch(answer.strip()), _IN_BASE.fullmatch(gold.strip())
    if digits[0] and digits[1] and digits[0]["base"] == digits[1]["base"]:
        return digits[0]["digits"].lstrip("0") == digits[1]["digits"].lstrip("0")
    equal = _forms_equal(answer, gold)
    # In 2k and 2K some see the same variable: left to math-verify.
    return None if equal is False and _forms_equal(answer.lower(), gold.lower()) else equal


def _told_apart(left: Number, right: Number) -> bool:
    """Whether two numbers that are not equal cannot be one number that was rounded, or one of them a percentage."""
    if "%" in left.unit + right.unit:
        return False
    places = [number.places for number in (left, right)]
    if None in places:
        return all(not decimals for decimals in places)  # 0.3333 may stand for 1/3, 0 and 2/3 not
    return all(decimals <= 5 for decimals in places if decimals is not None)


def _forms_equal(answer: str, gold: str) -> bool | None:
    """None where one has no form or was rounded, and where a list may be meant for another kind of list. A number is
    no list of several."""
    left, right = closed_form(answer), closed_form(gold)
    if left is None or right is None:
        return None
    if (left.is_number and len(right.values) > 1) or (right.is_number and len(left.values) > 1):
        return False
    if left.brackets != right.brackets or len(left.values) != len(right.values):
        return None
    if left.values == right.values:
        return True
    return False if left.exact and right.exact else None


def _plain(answer: str) -> str:
    return re.sub(r"\\(?:text|mbox|mathrm|textbf)\s*\{([^{}]*)\}", r"\1", tidy(answer))


def numeric_equal(answer: str, gold: str) -> bool:
    """The same number; 50% is 50 and 0.5; a decimal of four places or more equals the fraction that rounds to it."""
    left, right = parse_number(answer), parse_number(gold)
    if left is None or right is None:
        return False
    return any(_same(a, b) for a in _readings(left) for b in _readings(right))


def _readings(number: Number) -> list[Number]:
    return [number, Number(number.value / 100, None, "")] if number.unit == "%" else [number]


def _same(left: Number, right: Number) -> bool:
    if left.value == right.value:
        return True
    if (left.places is None) == (right.places is None):
        return False
    places = left.places if left.places is not None else right.places
    return places is not None and places >= _ROUNDED and abs(left.value - right.value) * 2 * 10**places <= 1


def exact_equal(answer: str, gold: str) -> bool:
    """The same text, up to the amount of white space; an empty text equals nothing."""
    return bool(answer.split()) and answer.split() == gold.split()


def choice_letter(answer: str) -> str | None:
    """The letter of a multiple-choice answer: "B", "(B)", "B) Paris", "option b"; None where there is none."""
    text = re.sub(r"^(?:option|choice)\s+", "", _plain(answer).strip(), flags=re.IGNORECASE)
    if re.fullmatch(r"\(?[a-z]\)?[.:]?", text):
        text = text.upper()
    match = _LETTER.match(text)
    return match.group(1) if match else None


def choice_equal(answer: str, gold: str) -> bool:
    """The same letter."""
    letter = choice_letter(answer)
    return letter is not None and letter == choice_letter(gold)


LOCAL: dict[str, Callable[[str, str], bool]] = {
    "numeric": numeric_equal, "exact": exact_equal, "choice": choice_equal,
}


def check_kind(kind: str) -> str:
    """`kind` itself, when it names a grader. Raises InputError."""
    parts = kind.split(":")
    if kind == "math" or kind in LOCAL or (parts[0] == "reasoning-gym" and len(parts) == 2 and parts[1]) \
            or (parts[0] == "python" and len(parts) == 3 and all(parts)):
        return kind
    raise InputError(f"grader: expected math, {', '.join(LOCAL)}, reasoning-gym:TASK or python:MODULE:FUNCTION, "
                     f"found {kind!r}")


def answer_for(kind: str, text: str) -> str | None:
    """What the grader `kind` is given of a completion's text; None where the text states no answer.

    A user's function gets the whole text, a puzzle's verifier the marked answer or else the last line, `exact` and
    `choice` the marked answer or else the whole text.
    """
    family = kind.partition(":")[0]
    if family == "python":
        return text
    if family == "reasoning-gym":
        return marked_answer(text) or last_line(text)
    if family in ("exact", "choice"):
        return marked_answer(text) or text.strip() or None
    return extract_answer(text)


def reference_for(kind: str, gold: str) -> str:
    r"""The reference answer itself, where `gold` may be a whole reference solution with "####" or `\boxed`."""
    if kind == "math" or kind in LOCAL:
        return marked_answer(gold) or gold.strip()
    return gold
