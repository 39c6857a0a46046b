r"""Tokens of an expression: numbers, commands, brackets, and letters as the variables whose product they are.

    tokens("2ab + 3.5")[0]      # ["2", "a", "b", "+", "3.5"]
    tokens("5 cm")[0]           # ["5", "cm"]: a unit
"""

from __future__ import annotations

import re
from fractions import Fraction

from erprm.grading.terms import UnclearError
from erprm.grading.units import UNITS

_TOKEN = re.compile(r"(?P<number>(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d*)?(?:\\overline\s*\{\d+\})?"
                    r"|\.\d*\\overline\s*\{\d+\}|\.\d+)"
                    r"|(?P<text>\\text\{[^{}]*\})|(?P<command>\\\\|\\[A-Za-z]+|\\\|)|(?P<letters>[A-Za-z]+)"
                    r"|(?P<sign>[-+*/^(){}\[\]!|])|(?P<other>\S)")
_SCIENTIFIC = re.compile(r"([eE])([+-]?\d{1,3})(?![\d.])")
_MOST_DIGITS = 2000  # of a number as written
_FUNCTIONS = frozenset((
    "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "lg", "exp", "max", "min", "gcd", "lcm", "mod", "det",
    "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "floor", "ceil", "sqrt", "lim", "deg", "arg"))
_WORDS = frozenset((  # short words that are no products of variables
    "not", "no", "yes", "or", "and", "is", "if", "the", "any", "all", "one", "two", "six", "ten", "odd", "non",
    "for", "but", "nor", "of", "in", "to", "at", "by", "on", "an", "as", "it", "he", "we", "so", "do", "be", "are",
    "was", "has", "out", "off", "sq", "cu", "red", "day", "cat", "dog", "boy", "man", "men", "car", "bus", "cup",
    "egg", "bag", "box", "pie", "pen", "can", "cow", "pig", "hen", "toy", "hat", "kid", "jar", "tin", "pot", "lap",
    "win", "job", "way", "row", "tip", "net", "map", "mat", "mug", "nut", "owl", "pan", "pin", "rat", "rug", "van",
    "fox", "jug", "key", "kit", "lot", "art", "bar", "bat", "bit", "bun", "gas", "gem", "leg", "pea", "pet", "rod",
    "ton", "tub", "tax"))


def is_product(letters: str) -> bool:
    """Whether a run of letters is a product of variables ("xy", "abc") and no word: at most three letters, or letters
    that follow one another in the alphabet."""
    if letters in _FUNCTIONS or letters.lower() in _WORDS:
        return False
    places = sorted(map(ord, letters))
    return len(letters) <= 3 or (len(letters) <= 8 and len(set(places)) == len(places)
                                 and places[-1] - places[0] == len(places) - 1)


def tokens(text: str) -> tuple[list[str], list[bool]]:
    """The tokens, and whether white space stands before each."""
    found: list[str] = []
    spaced: list[bool] = []
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        match = _TOKEN.match(text, place)
        assert match is not None
        token, gap = match[0], place > 0 and text[place - 1].isspace()
        place = match.end()
        if match["number"] is not None:
            power = _SCIENTIFIC.match(text, place)
            if power:  # 4.2e1
                token, place = token + "e" + power[2], power.end()
        if match["letters"] is not None:
            if token == "pi":
                token = "\\pi"
            elif len(token) > 1 and is_product(token) and not _is_unit(token, found, text, place) \
                    and not any(len(before) > 1 and before.isalpha() for before in found[-1:]):
                found += list(token)
                spaced += [gap] + [False] * (len(token) - 1)
                continue
        found.append({"\\cdot": "*", "\\times": "*"}.get(token, token))
        spaced.append(gap)
    return found, spaced


def _is_unit(letters: str, before: list[str], text: str, end: int) -> bool:
    """Whether letters after a value, at the end, are a unit that is known ("5 cm", "3/4 kg"); of what pi is in there
    are lengths and angles, but no hours (2 pi hr)."""
    following = text[end:].replace("^2", "")[:1]
    known = UNITS.get(letters) or UNITS.get(letters.lower())
    return bool(before) and known is not None and not re.match(r"[A-Za-z0-9]", following) and (
        before[-1] != "\\pi" or known.dimension in ("length", "angle"))


def is_number(token: str) -> bool:
    """Whether a token is a number as written."""
    return token[:1].isdecimal() or (token[:1] == "." and len(token) > 1)


def value_of(token: str) -> Fraction:
    """The value of a number's token. Raises UnclearError for one of too many digits."""
    token, repeated = token.replace(",", ""), re.search(r"\\overline\s*\{(\d+)\}", token)
    if len(token) > _MOST_DIGITS:
        raise UnclearError
    if repeated:
        head = token[:token.index("\\")]
        if "." not in head or "e" in head:
            raise UnclearError
        scale = 10 ** len(head.partition(".")[2])
        return Fraction(head + "0") + Fraction(int(repeated[1]), (10 ** len(repeated[1]) - 1) * scale)
    whole, mark, exponent = token.partition("e")
    value = Fraction(whole.rstrip("."))
    return value * Fraction(10) ** int(exponent) if mark else value
