r"""The reader of one value: recursive descent over its tokens, each step a sum in normal form (`erprm.grading.terms`).

    reader = Reader(*tokens(r"\sum_{k=1}^{10} k^2 cm"))
    reader.whole()                    # {ONE: Fraction(385)}
    reader.place                      # where the unit begins

What is ambiguous as it is written ("1/2x", "1 2") or would need more algebra (a sum under a root, most under a fraction
bar) raises `UnclearError`. The work is bounded: brackets of `_DEEPEST`, and `_MOST_WORK` steps, as a sum that is
written with its bounds has its body read once for each value of the index.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from fractions import Fraction

from erprm.grading.terms import (
    ONE,
    Terms,
    UnclearError,
    absolute,
    add,
    constant,
    determinant,
    inverse,
    raised,
    root_of,
    small_integer,
    times,
)
from erprm.grading.tokens import is_number, value_of

_DEEPEST = 50  # brackets
_MOST_WORK = 20_000  # tokens taken and terms multiplied, of one expression
_UNIT_LETTERS = frozenset("mgshLlNWVJKACF")  # after a space, alone at the end: 5 m
_GREEK = frozenset("\\" + name for name in (
    "alpha", "beta", "gamma", "delta", "epsilon", "theta", "lambda", "mu", "sigma", "phi", "omega", "rho", "tau",
    "psi", "xi", "zeta", "eta", "kappa", "varphi", "ell", "Delta", "Omega", "Gamma", "Phi", "Theta"))
_BEGINS_FACTOR = frozenset(("\\pi", "\\sqrt", "\\frac", "\\binom", "\\sum", "\\prod", "\\begin", "\\det"))
_BARS = frozenset(("vmatrix",))
_MATRICES = frozenset(("matrix", "smallmatrix", "array", "pmatrix", "bmatrix", "Bmatrix"))


class Reader:
    """Recursive descent over the tokens of one value."""

    def __init__(self, tokens: list[str], spaced: list[bool]) -> None:
        self._tokens, self._spaced = tokens, spaced
        self.place = 0
        self._depth = 0
        self._work = _MOST_WORK
        self._indices: dict[str, Fraction] = {}  # of the sums around, with their values

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
        self._spend(1)
        return token

    def _spend(self, work: int) -> None:
        self._work -= work
        if self._work < 0:
            raise UnclearError

    def _times(self, left: Terms, right: Terms) -> Terms:
        self._spend(len(left) * len(right))
        return times(left, right)

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
                value = self._times(value, inverse(factor) if token == "/" else factor)
                divided = token == "/"
            elif token == "(" or (len(token) == 1 and token.isalpha()) or token in _BEGINS_FACTOR \
                    or token in _GREEK:
                before = self._tokens[self.place - 1]
                if divided:
                    raise UnclearError  # a/bc
                if token == "\\frac" and is_number(before):
                    value = self._mixed(value)
                else:
                    value = self._times(value, self._power())
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
        exponent = self._exponent()
        if self._peek() == "^":
            raise UnclearError
        if exponent.get(ONE) == Fraction(1, 2) and len(exponent) == 1:
            return root_of(base, 2)
        value = raised(base, small_integer(exponent))
        self._spend(8 * len(value) if len(base) > 1 else 0)  # products until there
        return value

    def _exponent(self) -> Terms:
        """What follows "^": an expression in brackets, or one number."""
        if self._peek() in ("{", "("):
            closing = "}" if self._take() == "{" else ")"
            exponent = self._sum()
            self._take(closing)
            return exponent
        sign = -1 if self._peek() == "-" and self._take() else 1
        token = self._take()
        if token in self._indices:
            return constant(self._indices[token] * sign)
        if not is_number(token) or (len(token) > 1 and not token.isdecimal()):
            raise UnclearError
        return constant(value_of(token) * sign)

    def _atom(self) -> Terms:
        token = self._take()
        if is_number(token):
            return constant(value_of(token))
        if token in ("(", "[", "{"):
            value = self._sum()
            self._take({"(": ")", "[": "]", "{": "}"}[token])
            return value
        if token == "|":
            value = self._determinant(_MATRICES) if self._peek() == "\\begin" else absolute(self._sum())
            self._take("|")
            return value
        if token in self._indices:
            return constant(self._indices[token])
        if token == "\\pi":
            return {(1, (("pi", 1),)): Fraction(1)}
        if token in ("\\sum", "\\prod"):
            return self._series(product=token == "\\prod")
        if token == "\\binom":
            above, below = small_integer(self._braced()), small_integer(self._braced())
            if above < 0 or below < 0:
                raise UnclearError
            return constant(Fraction(math.comb(above, below)))
        if token == "\\begin":
            self.place -= 1
            return self._determinant(_BARS)
        if token == "\\det":
            bracket = self._peek() == "(" and self._take()
            value = self._determinant(_MATRICES)
            if bracket:
                self._take(")")
            return value
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

    def _series(self, product: bool) -> Terms:
        r"""The value behind `\sum` or `\prod`: `_{k=1}^{10}` and a product, read once for each value of the index."""
        for mark in ("_", "{"):
            self._take(mark)
        if self._tokens[self.place + 1:self.place + 2] == ["="]:
            index = self._take()
            self._take("=")
            first = small_integer(self._sum())
            for mark in ("}", "^"):
                self._take(mark)
            last = small_integer(self._exponent())
        else:  # _{1 \le k \le 10}
            first = small_integer(self._sum())
            self._take("\\le")
            index = self._take()
            self._take("\\le")
            last = small_integer(self._sum())
            self._take("}")
        if not (len(index) == 1 and index.isalpha()):
            raise UnclearError
        body, outer = self.place, self._indices
        total = constant(Fraction(int(product)))
        for value in range(first, max(first, last) + 1):  # the body of no terms is read once too, to be behind it
            self.place, self._indices = body, {**outer, index: Fraction(value)}
            part = self._product()
            if value > last:
                break
            if product:
                total = self._times(total, part)
            else:
                self._spend(len(part))
                add(total, part, 1)
        self._indices = outer
        return total

    def _determinant(self, names: Collection[str]) -> Terms:
        r"""Of the matrix in `\begin{...}...\end{...}`, an environment with one of these names."""
        self._take("\\begin")
        name = self._environment()
        if name not in names:
            raise UnclearError
        if name == "array" and self._peek() == "{":
            while self._take() != "}":
                pass
        rows: list[list[Terms]] = [[]]
        while True:
            rows[-1].append(self._sum())
            token = self._take()
            if token == "\\\\" and self._peek() != "\\end":
                rows.append([])
            elif token != "&":
                break
        if token == "\\\\":
            token = self._take()
        if token != "\\end" or self._environment() != name:
            raise UnclearError
        self._spend(sum(len(cell) for row in rows for cell in row) << min(len(rows), 10))
        return determinant(rows)

    def _environment(self) -> str:
        self._take("{")
        name = self._take()
        self._take("}")
        return name
