r"""One spelling for answers that differ only in notation, and exact numbers out of text.

    tidy("$\\$1,234.50$.")                 # "1234.50"
    canonical(r"\dfrac{1}{2}")              # "\frac{1}{2}": equal strings are equal answers
    parse_number("18 million dollars")      # Number(value=Fraction(18000000), places=0, ...)
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from fractions import Fraction

_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"))
_GROUPED = re.compile(r"(?<![\d.,(\[{])\d{1,3}(?:,\d{3})+(?![\d,)\]}])")
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf|textit|operatorname)\s*\{([^{}]*)\}")
_DEGREES = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree|°")
_SPACING = re.compile(r"\\[,;:! ]|\\quad|\\qquad|~")
_DECIMAL = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?"
_NUMBER = re.compile(rf"(?P<sign>[+-]?)\s*(?:(?P<decimal>{_DECIMAL})(?:\s*/\s*(?P<under>{_DECIMAL}))?"
                     rf"|\\frac\s*(?:\{{\s*(?P<top>-?{_DECIMAL})\s*\}}|(?P<top1>\d))\s*"
                     rf"(?:\{{\s*(?P<bottom>-?{_DECIMAL})\s*\}}|(?P<bottom1>\d)))(?P<unit>.*)", re.DOTALL)
_UNIT = re.compile(r"\s*%|(?:\s+[A-Za-z]{2,}|\s+an?\b|(?<=[a-z])[/.'-][A-Za-z]{2,})+(?:\s*\^?\s*\{?[23]\}?)?")
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
# Words after a number that change its value; a text with one of them is no plain quantity.
_NOT_UNITS = frozenset((
    "pi", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "mod", "choose", "squared", "cubed",
    "factorial", "over", "half", "halves", "third", "thirds", "quarter", "quarters", "plus", "minus", "times",
    "divided", "or", "and", "to", "by", "negative", "of"))


def tidy(answer: str) -> str:
    r"""`answer` without what surrounds it: white space, math delimiters, emphasis, `\boxed`, a closing full stop,
    currency signs and thousands separators. Its own notation is kept."""
    text = answer.replace("−", "-").replace("\u00a0", " ").replace("\u202f", " ").strip()
    text = re.sub(r",\s*\\!\s*", ",", text).replace("{,}", ",")
    before = None
    while text != before:
        before = text
        text = text.strip().rstrip(".,;:").rstrip() if not text.endswith("\\.") else text[:-2]
        for opening, closing in _WRAPPERS:
            inner = text[len(opening):-len(closing)]
            if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing) \
                    and opening not in inner and closing not in inner and not inner.endswith("\\"):
                text = inner
        if text.startswith("\\boxed{") and text.endswith("}"):
            text = text[len("\\boxed{"):-1]
    text = re.sub(r"(?:\\\$|[£€¥]|(?<!\S)\$)\s*(?=-?[\d.])|(?<=-)(?:\\\$|\$)\s*(?=[\d.])", "", text)
    return _GROUPED.sub(lambda match: match.group().replace(",", ""), text)


def notation(answer: str) -> str:
    r"""`tidy` and with one notation for what TeX offers several: no `\text`, `\left` and spacing commands, `\frac` and
    `\sqrt` with braces."""
    text = _TEXT.sub(r"\1", tidy(answer))
    text = _SPACING.sub(" ", text).replace("\\left", "").replace("\\right", "")
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    text = re.sub(r"\\frac\s*(\d)\s*(\d)(?!\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\sqrt\s*(\w)(?!\w)", r"\\sqrt{\1}", text)
    return text


@functools.lru_cache(maxsize=1 << 14)
def canonical(answer: str) -> str:
    """A spelling such that equal spellings are equal answers (the reverse does not hold)."""
    number = parse_number(answer)
    if number is not None and not number.unit:
        return str(number.value)
    text = notation(answer)
    text = _DEGREES.sub("", text).strip()
    if re.fullmatch(r"\(\s*[A-Za-z]\s*\)", text):
        return text.strip("() ").upper()
    if is_word(text):
        return " ".join(text.lower().split())
    return re.sub(r"\s+", "", text)


def is_word(text: str) -> bool:
    """Whether the answer is a name or word ("east", "Evelyn Smith") and no mathematics."""
    return re.fullmatch(r"[A-Za-z]{2,}(?:[ -][A-Za-z]{2,})*", text.strip()) is not None


@dataclass(frozen=True, slots=True)
class Number:
    """An exact number as written.

    Attributes:
        value: its value; a percentage is kept as the number before the sign.
        places: decimal places written, or None for a fraction.
        unit: the words after it, lower case ("", "%", "dollars").
    """

    value: Fraction
    places: int | None
    unit: str


@functools.lru_cache(maxsize=1 << 14)
def parse_number(answer: str) -> Number | None:
    """The number that `answer` is, with or without a unit; None where it is anything else, 10/0 included."""
    text = _SPACING.sub(" ", _TEXT.sub(r" \1", tidy(answer)))
    text = _DEGREES.sub(" degrees", text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    match = _NUMBER.fullmatch(text.replace("\\%", "%").replace("percent", "%"))
    if match is None:
        return None
    unit = match["unit"]
    if unit.strip() and not _UNIT.fullmatch(unit):
        return None
    words = unit.lower().split()
    scale = _SCALES.get(words[0].rstrip("s"), 1) if words else 1
    if _NOT_UNITS.intersection(words):
        return None
    top = Fraction(match["decimal"] or match["top"] or match["top1"])
    under = match["under"] or match["bottom"] or match["bottom1"]
    if under is not None and Fraction(under) == 0:
        return None
    value = top / Fraction(under) if under is not None else top
    places = None if under is not None else len(match["decimal"].partition(".")[2])
    if match["sign"] == "-":
        value = -value
    return Number(value * scale, places, " ".join(words[1:] if scale != 1 else words))
