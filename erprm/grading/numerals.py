r"""Numbers that are written as words, in digits.

    in_digits("forty-two apples")             # 42 apples
    in_digits("two hundred and five")         # 205
    in_digits("two thirds")                   # 2/3
    in_digits("the twenty-first")             # 21 \text{ordinal}
    in_digits("no two-digit number")          # as it is: a part of another word is no number

Each rule is one pass over the text. What is no single number ("one two", "two three hundred") stays as it is.
"""

from __future__ import annotations

import re

_SMALL = {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
          "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
          "seventeen": 17, "eighteen": 18, "nineteen": 19}
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
             "ninth": 9, "tenth": 10, "eleventh": 11, "twelfth": 12,
             **{f"{word}th": number for word, number in _SMALL.items() if number > 12},
             **{f"{word[:-1]}ieth": number for word, number in _TENS.items()}}
_PART = {"half": 2, "quarter": 4, **{word: number for word, number in _ORDINALS.items() if 2 < number < 13},
         **{f"{word}th": number for word, number in _SCALES.items()}}
_PARTS = {"halves": 2, **{f"{word}s": number for word, number in _PART.items()}}


def _any(words: dict[str, int]) -> str:
    return f"(?:{'|'.join(sorted(words, key=len, reverse=True))})"


WORDS = _any(_SMALL | _TENS)
"""A regular expression for the words that numbers begin with."""
_SCALE = rf"{_any(_SCALES)}(?:\s+and(?=\s+{WORDS}\b))?"
_NUMBER = re.compile(
    rf"(?<![\w\\'-])(?:an?(?=\s+(?:{_any(_SCALES)}|dozen)\b)|{WORDS}\b)(?:(?:\s+|-)(?:{WORDS}|{_SCALE})\b)*"
    rf"(?![\w'’]|-(?!{_any(_PART | _PARTS)}\b)[A-Za-z])", re.IGNORECASE)
_MARKED = re.compile(rf"\\text\{{({WORDS})\}}", re.IGNORECASE)
_FRACTION = re.compile(rf"(?<![\w.,/\\'-])(?:(?:an?|1)(?:\s+|-)(?P<one>{_any(_PART)})"
                       rf"|(?P<top>\d{{1,9}})(?:\s+|-)(?P<parts>{_any(_PARTS)}))(?![\w'’]|-[A-Za-z])", re.IGNORECASE)
_HALF = re.compile(r"^half(?=$|\s+(?:an?|of)\s)", re.IGNORECASE)
_ORDINAL = re.compile(rf"(?:the\s+)?(?:\\text\{{)?(?:(?P<tens>{_any(_TENS)})[\s-])?(?P<last>{_any(_ORDINALS)})\}}?"
                      r"(?P<what>(?:\s+(?-i:[a-z]+)){0,2})", re.IGNORECASE)
_ORDINAL_DIGITS = re.compile(r"(?:the\s+)?(?P<digits>\d+)\s*\^?\s*\{?\s*(?:\\text\{)?(?P<end>st|nd|rd|th)[\s}]*"
                             r"(?P<what>(?:\s+[a-z]+){0,2})")
_ENDS = {1: "st", 2: "nd", 3: "rd"}


def in_digits(text: str) -> str:
    """`text` with its numbers in digits; a text that is an ordinal as a number of the unit "ordinal"."""
    ordinal = _ordinal(text.strip())
    if ordinal is not None:
        return ordinal
    text = _NUMBER.sub(_digits, _MARKED.sub(r" \1 ", text))
    return _HALF.sub("1/2", _FRACTION.sub(_fraction, text))


def _ordinal(text: str) -> str | None:
    words = _ORDINAL.fullmatch(text)
    if words:
        last, tens = _ORDINALS[words["last"].lower()], _TENS[words["tens"].lower()] if words["tens"] else 0
        return rf"{tens + last} \text{{ordinal}}{words['what']}" if not tens or last < 10 else None
    digits = _ORDINAL_DIGITS.fullmatch(text)
    if digits is None:
        return None
    number = digits["digits"]
    end = "th" if number[-2:-1] == "1" else _ENDS.get(int(number[-1]), "th")
    return rf"{number} \text{{ordinal}}{digits['what']}" if digits["end"] == end else None


def _digits(match: re.Match[str]) -> str:
    value = _value(re.findall(r"[a-z]+", match[0].lower()))
    return match[0] if value is None else str(value)


def _value(words: list[str]) -> int | None:
    """The number that words say together."""
    if words == ["zero"]:
        return 0
    total, group, largest = 0, 0, 10**15  # the whole thousands so far, what follows them, and the scale before
    for word in words:
        number = {**_SMALL, "a": 1, "an": 1}.get(word)
        if word == "and":
            continue
        if word == "hundred" and 0 < group < 100:
            group *= 100
        elif word in _SCALES and word != "hundred" and group and _SCALES[word] < largest:
            total, group, largest = total + group * _SCALES[word], 0, _SCALES[word]
        elif word in _TENS and group % 100 == 0:
            group += _TENS[word]
        elif number and ((number < 10 and group % 10 == 0 and group % 100 != 10) or group % 100 == 0):
            group += number
        else:
            return None
    return total + group


def _fraction(match: re.Match[str]) -> str:
    if match["one"]:
        return f"1/{_PART[match['one'].lower()]}"
    return f"{match['top']}/{_PARTS[match['parts'].lower()]}"
