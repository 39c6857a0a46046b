r"""Exact values of simple closed forms: sums of rational multiples of square roots, powers of pi, i, and variables.

    closed_form(r"\frac{3\sqrt{8}}{4}") == closed_form(r"\frac{3}{\sqrt{2}}")     # True
    closed_form("2(k+1)") == closed_form("2k + 2")                              # True
    closed_form("1,-2")                                                         # None: not such a form

Square roots of different square-free integers are linearly independent over the rationals, pi is transcendental, and
variables are free, so a sum of such products has one normal form: two forms are equal exactly when their normal forms
are. Nothing is rounded. What is ambiguous as it is written ("1/2x", "f(x)", "1\frac{4}{5}", "ab", "x^10") or would need
more algebra (a sum under a root or a fraction bar, i^2) has no form here and is left to a real algebra system.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from erprm.grading.normalise import notation

_TOKEN = re.compile(r"\s*(\d+\.?\d*|\.\d+|\\[A-Za-z]+|[A-Za-z]|[-+*/^(){}])")
_TUPLE = re.compile(r"([(\[])(.*)([)\]])", re.DOTALL)
_MATRIX = re.compile(r"\\begin\{([a-z]*matrix)\}(.*)\\end\{\1\}", re.DOTALL)
_LONGEST = 200  # characters
_LARGEST_RADICAND, _LARGEST_POWER, _MOST_TERMS = 10**6, 16, 64

Monomial = tuple[int, tuple[tuple[str, int], ...]]  # (square-free radicand, sorted powers of names): sqrt(2) pi^3
Terms = dict[Monomial, Fraction]  # without zeros
_ONE: Monomial = (1, ())


@dataclass(frozen=True, slots=True)
class Closed:
    """A normal form.

    Attributes:
        values: the terms of each component; one component where there are no brackets.
        brackets: "()", "[)", ... around a tuple or interval, the name and shape of a matrix; "" for a single value.
        exact: no decimal point was used, so that nothing can have been rounded by who wrote it.
    """

    values: tuple[frozenset[tuple[Monomial, Fraction]], ...]
    brackets: str
    exact: bool

    @property
    def is_number(self) -> bool:
        """A single value without variables."""
        return not self.brackets and all(name in ("pi", "i") for (_, names), _ in self.values[0] for name, _ in names)


@functools.lru_cache(maxsize=1 << 14)
def closed_form(answer: str) -> Closed | None:
    """The normal form of an answer, or of each component of a bracketed tuple, interval or matrix; None where it has
    none."""
    text = notation(answer)
    if len(answer) > _LONGEST:
        return None
    exact = "." not in text
    try:
        matrix = _MATRIX.fullmatch(answer.strip().strip("$").strip())
        if matrix:
            rows = [row.split("&") for row in matrix[2].split("\\\\")]
            return Closed(tuple(_value(notation(cell), ends=False) for row in rows for cell in row),
                          f"{matrix[1]} {[len(row) for row in rows]}", exact)
        bracketed = _TUPLE.fullmatch(text)
        parts = _split(bracketed[2]) if bracketed else []
        if bracketed and len(parts) > 1:
            return Closed(tuple(_value(part, ends=True) for part in parts), bracketed[1] + bracketed[3], exact)
        return Closed((_value(text, ends=False),), "", exact)
    except _UnclearError:
        return None


class _UnclearError(Exception):
    """Not a form that is certain here."""


def _split(text: str) -> list[str]:
    """`text` at the commas that stand in no brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _value(text: str, ends: bool) -> frozenset[tuple[Monomial, Fraction]]:
    """The normal form of one value; with `ends`, also of an interval's infinite end."""
    infinite = re.fullmatch(r"\s*([+-]?)\s*\\infty\s*", text) if ends else None
    if infinite is not None:
        return frozenset([((1, (("∞", 1),)), Fraction(-1 if infinite[1] == "-" else 1))])
    return frozenset(_Reader(text).whole().items())


class _Reader:
    """Recursive descent over the tokens of one value."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        place, text = 0, text.rstrip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise _UnclearError
            if match[1].isalpha() and self._tokens and self._tokens[-1].isalpha() and match.start(1) == place:
                raise _UnclearError  # "ab" is a word or a product
            self._tokens.append({"\\cdot": "*", "\\times": "*"}.get(match[1], match[1]))
            place = match.end()
        self._next = 0

    def whole(self) -> Terms:
        """The value of all tokens."""
        value = self._sum()
        if self._next < len(self._tokens):
            raise _UnclearError
        return value

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self, expected: str | None = None) -> str:
        token = self._peek()
        if not token or (expected is not None and token != expected):
            raise _UnclearError
        self._next += 1
        return token

    def _sum(self) -> Terms:
        total: Terms = {}
        sign = self._sign() or 1
        while sign:
            total = _add(total, self._product(), sign)
            sign = self._sign()
        return total

    def _sign(self) -> int:
        if self._peek() not in ("+", "-"):
            return 0
        return 1 if self._take() == "+" else -1

    def _product(self) -> Terms:
        value = self._power()
        divided = False
        while True:
            token = self._peek()
            if token in ("*", "/"):
                self._take()
                factor = self._power()
                value = _times(value, _inverse(factor) if token == "/" else factor)
                divided = token == "/"
            elif token == "(" or token.isalpha() or token in ("\\pi", "\\sqrt", "\\frac"):
                before = self._tokens[self._next - 1]
                # a/bc, f(x), and whether 1\frac{4}{5} is a product or a mixed number
                if divided or (token == "(" and before.isalpha()) or (token == "\\frac" and _is_number(before)):
                    raise _UnclearError
                value = _times(value, self._power())
            else:
                return value

    def _power(self) -> Terms:
        base = self._atom()
        if self._peek() != "^":
            return base
        self._take("^")
        if self._peek() == "{":
            self._take("{")
            exponent = self._take()
            self._take("}")
        else:
            exponent = self._take()
            if len(exponent) > 1:
                raise _UnclearError  # x^10 reads x^1 0 in TeX
        if not exponent.isdecimal() or int(exponent) > _LARGEST_POWER or self._peek() == "^":
            raise _UnclearError
        value: Terms = {_ONE: Fraction(1)}
        for _ in range(int(exponent)):
            value = _times(value, base)
        return value

    def _atom(self) -> Terms:
        token = self._take()
        if _is_number(token):
            return _constant(Fraction(token.rstrip(".")))
        if token == "(":
            value = self._sum()
            self._take(")")
            return value
        if token == "\\pi":
            return {(1, (("pi", 1),)): Fraction(1)}
        if token == "\\frac":
            top = self._braced()
            return _times(top, _inverse(self._braced()))
        if token == "\\sqrt":
            return _root(self._braced())
        if token.isalpha() and token != "e":  # whether e is Euler's number is not known, nor e's relation to pi
            return {(1, ((token, 1),)): Fraction(1)}
        raise _UnclearError

    def _braced(self) -> Terms:
        self._take("{")
        value = self._sum()
        self._take("}")
        return value


def _is_number(token: str) -> bool:
    return token[:1].isdecimal() or (token[:1] == "." and len(token) > 1)


def _constant(value: Fraction) -> Terms:
    return {_ONE: value} if value else {}


def _add(left: Terms, right: Terms, sign: int) -> Terms:
    total = dict(left)
    for monomial, factor in right.items():
        total[monomial] = total.get(monomial, Fraction(0)) + sign * factor
    return {monomial: factor for monomial, factor in total.items() if factor}


def _times(left: Terms, right: Terms) -> Terms:
    total: Terms = {}
    if len(left) * len(right) > _MOST_TERMS:
        raise _UnclearError
    for (root, names), factor in left.items():
        for (other_root, other_names), other_factor in right.items():
            powers = _powers(dict(names), other_names)
            if not -1 < powers.get("i", 0) < 2:
                raise _UnclearError  # -1 for the imaginary unit, an i squared for a variable
            shared = math.gcd(root, other_root)
            monomial = root * other_root // shared**2, tuple(sorted(powers.items()))
            total = _add(total, {monomial: factor * other_factor * shared}, 1)
    return total


def _powers(powers: dict[str, int], more: tuple[tuple[str, int], ...]) -> Mapping[str, int]:
    for name, power in more:
        powers[name] = powers.get(name, 0) + power
    return {name: power for name, power in powers.items() if power}


def _inverse(value: Terms) -> Terms:
    """1 / value, of a single term: the inverse of a sum is no sum."""
    if len(value) != 1:
        raise _UnclearError  # 0 too
    [((root, names), factor)] = value.items()
    return {(root, tuple((name, -power) for name, power in names)): 1 / (factor * root)}


def _root(value: Terms) -> Terms:
    """The square root of a rational number that is not negative."""
    if not value:
        return {}
    if list(value) != [_ONE] or value[_ONE] < 0:
        raise _UnclearError
    number = value[_ONE]
    rest, outside = number.numerator * number.denominator, 1  # sqrt(p/q) = sqrt(pq) / q
    if rest > _LARGEST_RADICAND:
        raise _UnclearError
    for divisor in range(2, math.isqrt(rest) + 1):
        while rest % divisor**2 == 0:
            rest, outside = rest // divisor**2, outside * divisor
    return {(rest, ()): Fraction(outside, number.denominator)}
