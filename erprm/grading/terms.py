r"""Exact sums: rational multiples of square roots times powers of pi, i and variables, each sum in one normal form.

    times({ONE: Fraction(1, 2)}, root_of({ONE: Fraction(8)}, 2))      # {(2, ()): Fraction(1)}, the root of two

Square roots of different square-free integers are linearly independent over the rationals, also beside i, whose square
is -1; pi is transcendental, and variables are free: two sums are equal exactly when their terms are. What has no such
form (the root of a sum), or would need numbers of more than `_MOST_BITS` or more than `_MOST_TERMS` terms, raises
`UnclearError`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

_MOST_BITS, _LARGEST_RADICAND, _LARGEST_POWER, _MOST_TERMS = 8192, 10**6, 4096, 256
_LARGEST_DETERMINANT = 6  # rows

Monomial = tuple[int, tuple[tuple[str, int], ...]]  # (square-free radicand, sorted powers of names): sqrt(2) pi^3
Terms = dict[Monomial, Fraction]  # without zeros
ONE: Monomial = (1, ())


class UnclearError(Exception):
    """Not a form that is certain here."""


def small_integer(value: Terms) -> int:
    """A small integer. Raises UnclearError."""
    number = value.get(ONE, Fraction(0))
    if any(monomial != ONE for monomial in value) or number.denominator != 1 or abs(number) > _LARGEST_POWER:
        raise UnclearError
    return int(number)


def constant(value: Fraction) -> Terms:
    return {ONE: value} if value else {}


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def add(total: Terms, more: Terms, sign: int) -> None:
    """total += sign * more, in place."""
    for monomial, factor in more.items():
        if _bits(factor) > _MOST_BITS or (monomial in total and _bits(total[monomial]) > _MOST_BITS):
            raise UnclearError
        value = total.get(monomial, Fraction(0)) + sign * factor
        if value:
            total[monomial] = value
        else:
            total.pop(monomial, None)
    if len(total) > _MOST_TERMS:
        raise UnclearError


def times(left: Terms, right: Terms) -> Terms:
    total: Terms = {}
    if len(left) * len(right) > _MOST_TERMS:
        raise UnclearError
    for (root, names), factor in left.items():
        for (other_root, other_names), other_factor in right.items():
            if _bits(factor) + _bits(other_factor) > _MOST_BITS:
                raise UnclearError
            powers = dict(names)
            for name, power in other_names:
                powers[name] = powers.get(name, 0) + power
            turns = powers.pop("i", 0) % 4  # of the imaginary unit: 1, i, -1, -i
            if turns % 2:
                powers["i"] = 1
            shared = math.gcd(root, other_root)
            monomial = root * other_root // shared**2, tuple(sorted(item for item in powers.items() if item[1]))
            add(total, {monomial: factor * other_factor * shared}, 1 if turns < 2 else -1)
    return total


def raised(base: Terms, exponent: int) -> Terms:
    """base ** exponent, by squaring where it is one term."""
    if exponent < 0:
        base, exponent = inverse(base), -exponent
    if len(base) > 1 and exponent > 16:
        raise UnclearError
    value: Terms = {ONE: Fraction(1)}
    while exponent:
        if exponent & 1:
            value = times(value, base)
        exponent >>= 1
        if exponent:
            base = times(base, base)
    return value


def inverse(value: Terms) -> Terms:
    """1 / value, of one term, or of two whose squares differ by one term: 1 / (a + b) = (a - b) / (a^2 - b^2). The
    inverse of any other sum is no sum."""
    if len(value) == 2:
        (one, a), (other, b) = value.items()
        difference = times({one: a}, {one: a})
        add(difference, times({other: b}, {other: b}), -1)
        if len(difference) != 1:
            raise UnclearError
        return times({one: a, other: -b}, inverse(difference))
    if len(value) != 1:
        raise UnclearError  # 0 too
    [((root, names), factor)] = value.items()
    return times({(root, tuple((name, -power) for name, power in names)): 1 / (factor * root)}, {ONE: Fraction(1)})


def absolute(value: Terms) -> Terms:
    """|value|, of a rational number, or of a complex one whose parts have a rational sum of squares."""
    squares: Terms = {}
    parts: tuple[Terms, Terms] = {}, {}
    for (root, names), factor in value.items():
        if names not in ((), (("i", 1),)):
            raise UnclearError
        parts[len(names)][root, ()] = factor
    if not parts[1] and list(parts[0]) != [ONE] and value:
        raise UnclearError  # its sign would have to be known
    for part in parts:
        add(squares, times(part, part), 1)
    return root_of(squares, 2)


def determinant(rows: Sequence[Sequence[Terms]]) -> Terms:
    """Of a square matrix of at most six rows: n 2^(n-1) products. Raises UnclearError for any other."""
    size = len(rows)
    if size > _LARGEST_DETERMINANT or any(len(row) != size for row in rows):
        raise UnclearError
    minors: dict[int, Terms] = {0: {ONE: Fraction(1)}}  # a set of columns -> the determinant of the rows so far in it
    for row in rows:
        wider: dict[int, Terms] = {}
        for columns, minor in minors.items():
            for column, cell in enumerate(row):
                if not columns >> column & 1:
                    sign = -1 if (columns >> column).bit_count() % 2 else 1
                    add(wider.setdefault(columns | 1 << column, {}), times(minor, cell), sign)
        minors = wider
    return minors[(1 << size) - 1]


def root_of(value: Terms, degree: int) -> Terms:
    """The root of a rational number: of degree 2, of a higher degree where it is exact. Of a negative number i times
    the root of its opposite, for degree 2."""
    if not value:
        return {}
    number = value.get(ONE, Fraction(0))
    if list(value) != [ONE] or degree < 2 or (number < 0 and degree % 2 == 0 and degree > 2):
        raise UnclearError
    if number < 0 and degree == 2:
        return times({(1, (("i", 1),)): Fraction(1)}, root_of({ONE: -number}, 2))
    exact = [_exact_root(abs(part), degree) for part in (number.numerator, number.denominator)]
    if exact[0] is not None and exact[1] is not None:
        return constant(Fraction(exact[0], exact[1]) * (1 if number > 0 else -1))
    rest, outside = number.numerator * number.denominator, 1  # sqrt(p/q) = sqrt(pq) / q
    if degree != 2 or rest > _LARGEST_RADICAND:
        raise UnclearError
    for divisor in range(2, math.isqrt(rest) + 1):
        while rest % divisor**2 == 0:
            rest, outside = rest // divisor**2, outside * divisor
    return {(rest, ()): Fraction(outside, number.denominator)}


def _exact_root(number: int, degree: int) -> int | None:
    if number.bit_length() > 900:
        raise UnclearError
    near = round(number ** (1 / degree)) if degree > 2 else math.isqrt(number)
    return next((root for root in (near - 1, near, near + 1) if root >= 0 and root**degree == number), None)
