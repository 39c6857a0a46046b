"""Verdicts: the graders, and the faults of other graders."""

import pytest

from erprm.errors import InputError
from erprm.grading import GraderPool, grade
from erprm.problems import Problem


@pytest.mark.parametrize(("prediction", "gold", "right"), [
    ("The answer is $18 per day", "18", True), ("18 million", "18", False), ("18 million", "18,000,000", True),
    ("-7", "7", False), ("−7", "-7", True), ("1/2", "0.5", True), ("0.333333", "1/3", True),
    (r"\boxed{\sqrt{8}}", r"2\sqrt{2}", True), ("x=5", "5", True), (r"(2,\infty)", r"(3,\infty)", False),
    ("seat", "east", False), (r"\text{east}", "east", True), ("(C)", r"\text{(C)}", True), ("B", "C", False),
    (r"\frac{\sqrt3}{3}", r"\frac{1}{\sqrt{3}}", True), (r"\$32,\!348", "32348", True),
    ("9**9**9**9", "3", False), ("1 + 274 i", "1+274i", True), ("(1, 2)", "(2, 1)", False),
])
def test_math(prediction: str, gold: str, right: bool) -> None:
    assert grade(prediction, gold) is right


FAULTS = {
    "a right answer of 0 counted as wrong": [
        ("0", "0", True), ("The answer is 0.", "0", True), ("#### 0", "0", True), (r"\boxed{0}", "0.0", True),
        ("-0", "0", True), ("", "0", False), ("So far 3-3=0", "0", False)],
    "1,234,567 read as 1234": [
        ("1,234,567", "1234567", True), ("1,234,567", "1234", False), ("1234", "1,234,567", False),
        ("The answer is $1,234,567.", "1,234,567", True), ("1,234", "1", False)],
    "3.4 read as 3": [
        ("3.4", "3", False), ("3", "3.4", False), ("The answer is 3.4.", "3.4", True), ("3.40", "3.4", True)],
    "10/0 read as 10": [("10/0", "10", False), ("10", "10/0", False), (r"\frac{10}{0}", "10", False)],
    "None equal to None": [("", "", False), (None, None, False), ("none here", None, False), (None, "5", False),
                           ("The answer is", "", False), ("5", "", False), ("5", None, False), ("  ", "5", False)],
    "5 found inside 15": [("5", "15", False), ("15", "5", False), ("1.5", "15", False), ("5", "5.5", False)],
    "the last number of an unfinished text": [
        ("She has 9 eggs and sells 5", "5", False), ("9 - 4 = 5", "5", False), (r"The answer is $\boxed{5", "5", False),
        ("The answer is", "5", False), ("#### ", "5", False), ("", "5", False)],
    "a reference that is a whole solution": [("The answer is 72", "48/2 = 24\n48+24 = 72\n#### 72", True),
                                             ("24", "48/2 = 24\n48+24 = 72\n#### 72", False)],
}


@pytest.mark.parametrize(("prediction", "gold", "right"), [
    ("Answer: x = 12", "12", True), ("Answer: 2x = 12", "12", False), ("Answer: x < 12", "12", False),
    (r"The answer is $5$ cm.", "5", True), (r"\boxed{0.333...}", "1/3", True), ("The answer is 1 2.", "12", False),
    ("The answer is 3:30.", "3.5", False), ("2 h 30 min", "2.5", True),
])
def test_numeric(prediction: str, gold: str, right: bool) -> None:
    assert grade(prediction, gold, "numeric") is right


@pytest.mark.parametrize("kind", ["math", "numeric", "exact"])
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_other_graders(fault: str, kind: str) -> None:
    """`exact` asks for one spelling besides, so it is held to what is wrong."""
    for prediction, gold, right in FAULTS[fault]:
        if kind != "exact" or not right:
            assert grade(prediction, gold, kind) is right, (prediction, gold)


@pytest.mark.parametrize(("kind", "prediction", "gold", "right"), [
    ("numeric", "The answer is 1,200 dollars", "1200", True), ("numeric", "50%", "0.5", True),
    ("numeric", "0.3333", "1/3", True), ("numeric", "0.33", "1/3", False), ("numeric", "1234567", "1234568", False),
    ("numeric", r"\sqrt{8}", r"\sqrt{8}", False), ("numeric", "", "", False),
    ("exact", "red  green", "red green", True), ("exact", "Red", "red", False), ("exact", "#### red", "red", True),
    ("exact", "", "", False),
    ("choice", "The answer is (B).", "B", True), ("choice", "b", "(B)", True), ("choice", "B) Paris", "B", True),
    ("choice", "Because", "B", False), ("choice", "A", "B", False), ("choice", "", "", False),
])
def test_other_graders(kind: str, prediction: str, gold: str, right: bool) -> None:
    assert grade(prediction, gold, kind) is right


@pytest.mark.parametrize("kind", ["maths", "reasoning-gym:", "python:module", "", "reasoning-gym:no_such_task",
                                  "python:no_such_module:f", "python:json:no_such_function"])
def test_unknown_graders_are_refused(kind: str) -> None:
    with pytest.raises(InputError, match="grader"):
        grade("1", "1", kind)


def test_a_puzzle_has_many_right_answers() -> None:
    problem = Problem("0", "make 10", "8*4/4 + 2", grader="reasoning-gym:countdown",
                      metadata={"numbers": [4, 8, 2, 4], "target": 10})
    texts = {"8*4/4+2": True, "4/4=1\n1*8=8\nThe answer is 4/4*8+2": True, "8+2": False, "10": False,
             "4/(4-4)+8+2": False, "": False}
    with GraderPool(workers=1) as pool:
        assert dict(zip(texts, pool.grade_many([(text, problem) for text in texts]), strict=True)) == texts
