"""Exact comparison without algebra: never a wrong verdict, and no verdict where the notation is ambiguous."""

import math
import random

import pytest

from erprm.grading.closed_form import closed_form
from erprm.grading.graders import decide

VALUES = {"x": 1.2345, "k": 0.71828, r"\pi": math.pi}


@pytest.mark.parametrize(("left", "right"), [
    (r"\frac{3\sqrt{8}}{4}", r"\frac{3}{\sqrt{2}}"), (r"2\sqrt{2}\cdot\sqrt{3}", r"\sqrt{24}"), ("2(k+1)", "2k + 2"),
    (r"\sqrt{\frac{1}{3}}", r"\frac{\sqrt3}{3}"), (r"(a+5)(b+2)", "a b+2a+5b+10"),
    (r"(x+1)^2", "x^2+2x+1"), ("6 - 5i", "-5i+6"), (r"\frac{20000}{\pi}", r"2\cdot 10^4/\pi"), ("2.5x", r"\frac52 x"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(6/2, \pi/2)"), (r"(2,\infty)", r"(2,+\infty)"), ("x-x", "0"),
    (r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}", r"\begin{pmatrix}-\frac13\\\frac{2}{3}\end{pmatrix}"),
    (r"\sqrt{0}", "0"), (r"\dfrac{11+9a}{20}", r"\frac{11}{20}+\frac{9a}{20}"),
])
def test_equal(left: str, right: str) -> None:
    form, other = closed_form(left), closed_form(right)
    assert form is not None
    assert other is not None
    assert form.values == other.values
    assert decide(left, right) is True


@pytest.mark.parametrize(("left", "right"), [
    (r"\sqrt{2}", r"\sqrt{3}"), (r"3\pi", r"3\pi^2"), ("p-q", "q-p"), ("x^2", "2x"), ("(3,4]", "(3,5]"),
    ("(1,2)", "(2,1)"),
    (r"(2,\infty)", r"(-\infty,2)"), ("1+2i", "1-2i"), (r"2\pi", "6"), ("k", "0"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}"),
    ("72", r"(3, \pi)"), (r"\begin{pmatrix} 1 \\ 3 \end{pmatrix}", "25"), ("2516_8", "2517_{8}"),
])
def test_different(left: str, right: str) -> None:
    assert decide(left, right) is False


@pytest.mark.parametrize("text", [
    "1/2x", "f(x)", r"1\frac{4}{5}", r"137 \frac{1}{2}", "ab", "seat", "x^10", "x^{100}", "i^2", "e", "3 4", "2--3",
    "1/0", r"\frac{1}{1+\sqrt{2}}", r"\sqrt{-4}", r"\sqrt{x}", r"\sqrt[3]{8}", "1,-2", "x=5", "52_8",
    r"1 \pm \sqrt{19}", "50%", r"(0,9) \cup (9,36)", r"\cot x", "", "(", "1.2.3", "2^{2^{2}}", "9^{16}^{16}",
    "(x+y+z+w+1)^{16}", "x" * 300, r"\infty", r"90^\circ", "5!", "|x|",
])
def test_what_is_not_certain_has_no_form(text: str) -> None:
    assert closed_form(text) is None


@pytest.mark.parametrize(("left", "right"), [
    ("1.41421356", r"\sqrt{2}"), ("(3,4]", "[3,4]"), ("(1,2)", "(1,2,3)"), ("2K", "2k"), ("x", "(x,1)"),
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"), ("12_8", "10"),
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{bmatrix} 1 & 2 \end{bmatrix}"),
])
def test_left_to_algebra(left: str, right: str) -> None:
    """A rounded value, lists of other kinds, and letters that differ in case."""
    assert decide(left, right) is None


def expression(chance: random.Random, depth: int) -> tuple[str, float]:
    """A random expression in TeX and its value."""
    if depth == 0:
        name = chance.choice(["x", "k", r"\pi", "root", "fraction", "integer"])
        top, under = chance.randint(1, 12), chance.randint(1, 6)
        return {"root": (rf"\sqrt{{{top}}}", math.sqrt(top)), "fraction": (rf"\frac{{{top}}}{{{under}}}", top / under),
                "integer": (str(top), top)}.get(name) or (name, VALUES[name])
    (left, a), (right, b) = expression(chance, depth - 1), expression(chance, depth - 1)
    return chance.choice([(f"{left}+{right}", a + b), (f"{left}-({right})", a - b), (rf"({left})\cdot({right})", a * b),
                          (f"({left})^2", a * a)])


def test_forms_are_equal_where_the_values_are() -> None:
    """Against floating-point values: equal forms have equal values, and forms that differ have values that differ."""
    chance = random.Random(0)
    made = [expression(chance, chance.randint(0, 2)) for _ in range(400)]
    equal = 0
    for number, (left, a) in enumerate(made):
        for right, b in made[:number]:
            form, other = closed_form(left), closed_form(right)
            assert form is not None
            assert (form.values == other.values) == math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9), (left, right)
            equal += form.values == other.values
    assert equal > 300
