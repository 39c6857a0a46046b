r"""Exact values of expressions: sums of rational multiples of square roots, powers of pi, i, and variables.

    read_expression(r"\frac{3\sqrt{8}}{4}").terms == read_expression(r"\frac{3}{\sqrt{2}}").terms     # True
    read_expression("2(k+1)").terms == read_expression("2k + 2").terms                              # True
    read_expression(r"\sum_{k=1}^{10} k^2").rational                                                # Fraction(385)
    read_expression("5 cm").rest                                                                    # ["cm"]

Two expressions are equal exactly when their normal forms are; nothing is rounded. What `erprm.grading.reader` finds
unclear has no form here.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

from erprm.grading.reader import Reader
from erprm.grading.terms import ONE, Monomial, UnclearError, constant
from erprm.grading.tokens import tokens

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
    reader = Reader(found, spaced)
    try:
        terms = reader.whole()
    except UnclearError:
        return Expression(None, rest=tuple(found))
    alone = re.fullmatch(r"([\d,]*)\.(\d+)", "".join(found[:reader.place]).lstrip("+-"))
    return Expression(frozenset(terms.items()), len((alone[1].replace(",", "") + alone[2]).lstrip("0")) if alone else 0,
                      len(alone[2]) if alone else 0, tuple(found[reader.place:]))
