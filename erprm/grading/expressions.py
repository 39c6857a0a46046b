r"""Exact values of expressions: sums of rational multiples of square roots, powers of pi, i, and variables.

    read_expression(r"\frac{3\sqrt{8}}{4}").terms == read_expression(r"\frac{3}{\sqrt{2}}").terms     # True
    read_expression("2(k+1)").terms == read_expression("2k + 2").terms                              # True
    read_expression("5 cm").rest                                                                    # ["cm"]

Two expressions are equal exactly when their normal forms are (`erprm.grading.terms`); nothing is rounded. What is
ambiguous as it is written ("1/2x", "1 2") or would need more algebra (a sum under a root or a fraction bar, i^2) has no
form here. The work is bounded: brackets of `_DEEPEST`, each step at most once per token.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

from erprm.grading.terms import (
    ONE,
    Monomial,
    Terms,
    UnclearError,
    add,
    constant,
    inverse,
    raised,
    root_of,
    small_integer,
    times,
)
from erprm.grading.units import UNITS

_TOKEN = re.compile(r"(?P<number>(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d*)?(?:\\overline\s*\{\d+\})?|\.\d+)"
                    r"|(?P<text>\\text\{[^{}]*\})|(?P<command>\\[A-Za-z]+|\\\|)|(?P<letters>[A-Za-z]+)"
                    r"|(?P<sign>[-+*/^(){}\[\]!|])|(?P<other>\S)")
_SCIENTIFIC = re.compile(r"([eE])([+-]?\d{1,3})(?![\d.])")
_DEEPEST = 50  # brackets
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
_UNIT_LETTERS = frozenset("mgshLlNWVJKACF")  # after a space, alone at the end: 5 m
_GREEK = frozenset("\\" + name for name in (
    "alpha", "beta", "gamma", "delta", "epsilon", "theta", "lambda", "mu", "sigma", "phi", "omega", "rho", "tau",
    "psi", "xi", "zeta", "eta", "kappa", "varphi", "ell", "Delta", "Omega", "Gamma", "Phi", "Theta"))
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211707")
_PRECISION = Context(prec=60)


@dataclass(frozen=True, slots=True)
class Expression:
    """What could be read of a text.

    Attributes:
        terms: the normal form; None where there is none.
        digits: significant digits of a decimal that stands alone, from which on it may be a rounded value; 0 else.
        places: digits after the point of such a decimal.
        rest: the tokens after the expression: a unit, or why the text is no expression.
    """

    terms: frozenset[tuple[Monomial, Fraction]] | None
    digits: int = 0
    places: int = 0
    rest: tuple[str, ...] = ()

    @property
    def rational(self) -> Fraction | None:
        """The value, where it is a rational number."""
        if self.terms is None or any(monomial != ONE for monomial, _ in self.terms):
            return None
        return next((factor for _, factor in self.terms), Fraction(0))

    def value(self) -> Decimal | None:
        """The value to 60 digits, where it is a real number without variables."""
        if self.terms is None or any(name != "pi" for (_, names), _ in self.terms for name, _ in names):
            return None
        total = Decimal(0)
        for (root, names), factor in self.terms:
            part = _PRECISION.divide(Decimal(factor.numerator), Decimal(factor.denominator))
            part = _PRECISION.multiply(part, _PRECISION.sqrt(Decimal(root)))
            for _, power in names:
                part = _PRECISION.multiply(part, _PRECISION.power(_PI, Decimal(power)))
            total = _PRECISION.add(total, part)
        return total


@functools.lru_cache(maxsize=1 << 13)
def read_expression(text: str) -> Expression:
    """The expression at the beginning of `text`, which is in the notation of `normalise.notation`."""
    tokens, spaced = _tokens(text)
    reader = _Reader(tokens, spaced)
    try:
        terms = reader.whole()
    except UnclearError:
        return Expression(None, rest=tuple(tokens))
    alone = re.fullmatch(r"([\d,]*)\.(\d+)", "".join(tokens[:reader.place]).lstrip("+-"))
    return Expression(frozenset(terms.items()), len((alone[1].replace(",", "") + alone[2]).lstrip("0")) if alone else 0,
                      len(alone[2]) if alone else 0, tuple(tokens[reader.place:]))


def is_product(letters: str) -> bool:
    """Whether a run of letters is a product of variables ("xy", "abc") and no word: at most three letters, or letters
    that follow one another in the alphabet."""
    if letters in _FUNCTIONS or letters.lower() in _WORDS:
        return False
    places = sorted(map(ord, letters))
    return len(letters) <= 3 or (len(letters) <= 8 and len(set(places)) == len(places)
                                 and places[-1] - places[0] == len(places) - 1)


def _tokens(text: str) -> tuple[list[str], list[bool]]:
    """The tokens, and whether white space stands before each."""
    tokens: list[str] = []
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
            elif len(token) > 1 and is_product(token) and not _is_unit(token, tokens, text, place) \
                    and not any(len(before) > 1 and before.isalpha() for before in tokens[-1:]):
                tokens += list(token)
                spaced += [gap] + [False] * (len(token) - 1)
                continue
        tokens.append({"\\cdot": "*", "\\times": "*"}.get(token, token))
        spaced.append(gap)
    return tokens, spaced


def _is_unit(letters: str, before: list[str], text: str, end: int) -> bool:
    """Whether letters after a value, at the end, are a unit that is known ("5 cm", "3/4 kg")."""
    following = text[end:].replace("^2", "")[:1]
    return bool(before) and (letters in UNITS or letters.lower() in UNITS) and not re.match(r"[A-Za-z0-9]", following)


class _Reader:
    """Recursive descent over the tokens of one value."""

    def __init__(self, tokens: list[str], spaced: list[bool]) -> None:
        self._tokens, self._spaced = tokens, spaced
        self.place = 0
        self._depth = 0

    def whole(self) -> Terms:
        """The value at the beginning; `place` is then behind it, at a unit's token or at the end."""
        value = self._sum()
        if self.place < len(self._tokens) and not self._at_unit():
            raise UnclearError
        return value

    def _peek(self) -> str:
        return self._tokens[self.place] if self.place < len(self._tokens) else ""

    def _at_unit(self) -> bool:
        token = self._peek()
        if token.startswith("\\text{") or (len(token) > 1 and token[0].isalpha()) or token in (
                "/", "%", "$", "\\pmod", "\\bmod", "\\mod"):
            return True
        return not token.isascii() or (
            token in _UNIT_LETTERS and self._spaced[self.place] and self._ends_as_unit()
            and self.place > 0 and (_is_number(self._tokens[self.place - 1]) or self._tokens[self.place - 1] == "}")
            and not any(before.isalpha() for before in self._tokens[:self.place]))

    def _ends_as_unit(self) -> bool:
        """Whether what follows a letter leaves it a unit: nothing, a power, another such letter after "/"."""
        rest = self._tokens[self.place + 1:]
        if rest[:1] == ["/"] and rest[1:2] and rest[1] in _UNIT_LETTERS:
            rest = rest[2:]
        return "".join(rest) in ("", "^2", "^3", "^{2}", "^{3}")

    def _take(self, expected: str | None = None) -> str:
        token = self._peek()
        if not token or (expected is not None and token != expected):
            raise UnclearError
        self.place += 1
        return token

    def _sum(self) -> Terms:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise UnclearError
        total: Terms = {}
        sign = self._sign() or 1
        while sign:
            add(total, self._product(), sign)
            sign = self._sign()
        self._depth -= 1
        return total

    def _sign(self) -> int:
        sign = 0
        while self._peek() in ("+", "-"):
            if sign and self._tokens[self.place - 1] == self._peek():
                raise UnclearError  # "--" is a misprint or a decrement
            sign = (sign or 1) * (1 if self._take() == "+" else -1)
        return sign

    def _product(self) -> Terms:
        value = self._power()
        divided = False
        while True:
            token = self._peek()
            if self._at_unit() and not (token == "/" and self._divides()):
                return value
            if token in ("*", "/"):
                self._take()
                factor = self._signed_power()
                value = times(value, inverse(factor) if token == "/" else factor)
                divided = token == "/"
            elif token == "(" or (len(token) == 1 and token.isalpha()) or token in ("\\pi", "\\sqrt", "\\frac") \
                    or token in _GREEK:
                before = self._tokens[self.place - 1]
                if divided:
                    raise UnclearError  # a/bc
                if token == "\\frac" and _is_number(before):
                    value = self._mixed(value)
                else:
                    value = times(value, self._power())
            elif _is_number(token) and self._spaced[self.place] and _is_number(self._tokens[self.place - 1]):
                value = self._mixed(value)
            else:
                return value

    def _divides(self) -> bool:
        """Whether what follows "/" is a divisor and no unit: 3/4, but not 29/day."""
        following = self._tokens[self.place + 1] if self.place + 1 < len(self._tokens) else ""
        return not (following.startswith("\\text{") or (len(following) > 1 and following[0].isalpha())
                    or not following.isascii())

    def _mixed(self, whole: Terms) -> Terms:
        """A mixed number: 1 1/4, 1\\frac{1}{4}, where a proper fraction of integers follows an integer."""
        before = self._tokens[self.place - 1]
        if not before.isdecimal() or (self.place > 1 and self._tokens[self.place - 2] in ("^", "/", "*", ")", "}")):
            raise UnclearError
        if self._peek() == "\\frac":
            part = self._atom()
        else:
            top = self._take()
            self._take("/")
            bottom = self._take()
            if not (top.isdecimal() and bottom.isdecimal()) or _number(bottom) == 0:
                raise UnclearError
            part = constant(_number(top) / _number(bottom))
        value = part.get(ONE, Fraction(0))
        if list(part) != [ONE] or not 0 < value < 1:
            raise UnclearError
        total = dict(whole)
        add(total, part, 1)
        return total

    def _signed_power(self) -> Terms:
        sign = self._sign() or 1
        return {monomial: factor * sign for monomial, factor in self._power().items()}

    def _power(self) -> Terms:
        base = self._atom()
        while self._peek() == "!":
            self._take()
            number = small_integer(base)
            if not 0 <= number <= 100:
                raise UnclearError
            base = constant(Fraction(math.factorial(number)))
        if self._peek() != "^":
            return base
        self._take("^")
        if self._peek() in ("{", "("):
            closing = "}" if self._take() == "{" else ")"
            exponent = self._sum()
            self._take(closing)
        else:
            sign = -1 if self._peek() == "-" and self._take() else 1
            token = self._take()
            if not _is_number(token) or (len(token) > 1 and not token.isdecimal()):
                raise UnclearError
            exponent = constant(_number(token) * sign)
        if self._peek() == "^":
            raise UnclearError
        if exponent.get(ONE) == Fraction(1, 2) and len(exponent) == 1:
            return root_of(base, 2)
        return raised(base, small_integer(exponent))

    def _atom(self) -> Terms:
        token = self._take()
        if _is_number(token):
            return constant(_number(token))
        if token in ("(", "[", "{"):
            value = self._sum()
            self._take({"(": ")", "[": "]", "{": "}"}[token])
            return value
        if token == "|":
            value = self._sum()
            self._take("|")
            number = value.get(ONE, Fraction(0))
            if list(value) not in ([], [ONE]):
                raise UnclearError
            return constant(abs(number))
        if token == "\\pi":
            return {(1, (("pi", 1),)): Fraction(1)}
        if token == "\\frac":
            top = self._braced()
            return times(top, inverse(self._braced()))
        if token == "\\sqrt":
            degree = 2
            if self._peek() == "[":
                self._take()
                degree = small_integer(self._sum())
                self._take("]")
            if self._peek() == "(":
                self._take()
                value = self._sum()
                self._take(")")
                return root_of(value, degree)
            return root_of(self._braced(), degree)
        if (len(token) == 1 and token.isascii() and token.isalpha()) or token in _GREEK:
            if self._peek() == "(" and token in ("f", "g", "h", "F", "G", "P", "Q"):
                raise UnclearError  # a function's value
            return {(1, ((token, 1),)): Fraction(1)}
        if token in ("\\text{e}", "\\text{i}"):
            return {(1, ((token[6], 1),)): Fraction(1)}
        raise UnclearError

    def _braced(self) -> Terms:
        self._take("{")
        value = self._sum()
        self._take("}")
        return value


def _is_number(token: str) -> bool:
    return token[:1].isdecimal() or (token[:1] == "." and len(token) > 1)


def _number(token: str) -> Fraction:
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
