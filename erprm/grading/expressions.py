r"""Exact values of expressions: sums of rational multiples of square roots, powers of pi, i, and variables.

    read_expression(r"\frac{3\sqrt{8}}{4}").terms == read_expression(r"\frac{3}{\sqrt{2}}").terms     # True
    read_expression("2(k+1)").terms == read_expression("2k + 2").terms                              # True
    read_expression("5 cm").rest                                                                    # ["cm"]

Two expressions are equal exactly when their normal forms are (`erprm.grading.terms`); nothing is rounded. What is
ambiguous as it is written ("1/2x", "1 2") or would need more algebra (a sum under a root, most under a fraction bar)
has no form here. The work is bounded: brackets of `_DEEPEST`, each step at most once per token.
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
    absolute,
    add,
    constant,
    inverse,
    raised,
    root_of,
    small_integer,
    times,
)
from erprm.grading.tokens import is_number, tokens, value_of

_DEEPEST = 50  # brackets
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


def exactly(value: Fraction) -> Expression:
    """A number as an expression."""
    return Expression(frozenset(constant(value).items()))


@functools.lru_cache(maxsize=1 << 13)
def read_expression(text: str) -> Expression:
    """The expression at the beginning of `text`, which is in the notation of `normalise.notation`."""
    found, spaced = tokens(text)
    reader = _Reader(found, spaced)
    try:
        terms = reader.whole()
    except UnclearError:
        return Expression(None, rest=tuple(found))
    alone = re.fullmatch(r"([\d,]*)\.(\d+)", "".join(found[:reader.place]).lstrip("+-"))
    return Expression(frozenset(terms.items()), len((alone[1].replace(",", "") + alone[2]).lstrip("0")) if alone else 0,
                      len(alone[2]) if alone else 0, tuple(found[reader.place:]))


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
        if token == "\\Omega" and self.place == len(self._tokens) - 1 and is_number(self._tokens[self.place - 1]):
            return True  # ohm
        return not token.isascii() or (
            token in _UNIT_LETTERS and self._spaced[self.place] and self._ends_as_unit()
            and self.place > 0 and (is_number(self._tokens[self.place - 1]) or self._tokens[self.place - 1] == "}")
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
                if token == "\\frac" and is_number(before):
                    value = self._mixed(value)
                else:
                    value = times(value, self._power())
            elif is_number(token) and self._spaced[self.place] and is_number(self._tokens[self.place - 1]):
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
            if not (top.isdecimal() and bottom.isdecimal()) or value_of(bottom) == 0:
                raise UnclearError
            part = constant(value_of(top) / value_of(bottom))
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
            if not is_number(token) or (len(token) > 1 and not token.isdecimal()):
                raise UnclearError
            exponent = constant(value_of(token) * sign)
        if self._peek() == "^":
            raise UnclearError
        if exponent.get(ONE) == Fraction(1, 2) and len(exponent) == 1:
            return root_of(base, 2)
        return raised(base, small_integer(exponent))

    def _atom(self) -> Terms:
        token = self._take()
        if is_number(token):
            return constant(value_of(token))
        if token in ("(", "[", "{"):
            value = self._sum()
            self._take({"(": ")", "[": "]", "{": "}"}[token])
            return value
        if token == "|":
            value = self._sum()
            self._take("|")
            return absolute(value)
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
