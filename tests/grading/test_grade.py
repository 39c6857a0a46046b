"""Verdicts: the graders, and the faults of other graders."""

import pytest

from erprm.errors import InputError
from erprm.grading import GraderPool, grade
from erprm.problems import Problem, load_problems
from erprm.steps import join_steps, split_steps


@pytest.mark.parametrize(("prediction", "gold", "right"), [
    ("0", "0", True), ("The answer is 0.", "0", True), ("0.0", "0", True), ("", "0", False),  # a right answer of 0
    ("1,234,567", "1234567", True), ("1234", "1,234,567", False),
    ("3.4", "3", False), ("3", "3.4", False), ("The answer is 3.4", "3.4", True),
    ("10/0", "10", False), ("10", "10/0", False),
    ("5", "15", False), ("15", "5", False), ("1.5", "15", False),
    ("", "", False), ("The answer is", "", False), ("5", "", False), ("  ", "5", False),
    ("The answer is $18 per day", "18", True), ("18 million", "18", False), ("18 million", "18,000,000", True),
    ("-7", "7", False), ("−7", "-7", True), ("1/2", "0.5", True), ("0.333333", "1/3", True),
    (r"\boxed{\sqrt{8}}", r"2\sqrt{2}", True), ("x=5", "5", True), (r"(2,\infty)", r"(3,\infty)", False),
    ("seat", "east", False), (r"\text{east}", "east", True), ("(C)", r"\text{(C)}", True), ("B", "C", False),
    (r"\frac{\sqrt3}{3}", r"\frac{1}{\sqrt{3}}", True), (r"\$32,\!348", "32348", True),
    ("9**9**9**9", "3", False), ("1 + 274 i", "1+274i", True), ("(1, 2)", "(2, 1)", False),
])
def test_math(prediction: str, gold: str, right: bool) -> None:
    assert grade(prediction, gold) is right


def test_none_is_never_right() -> None:
    """`None == None` counted as right elsewhere."""
    assert grade(None, None) is False
    assert grade(None, "5") is False
    assert grade("5", None) is False


def test_a_reference_solution_is_a_reference() -> None:
    assert grade("The answer is 72", "48/2 = 24\n48+24 = 72\n#### 72")


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


def test_gsm8k_references_are_right(data) -> None:
    """All 8,792 solutions, split into steps and put together again, against their own answers."""
    problems = [problem for name in ("train", "test") for problem in load_problems(f"gsm8k:{data}/gsm8k/{name}.jsonl")]
    assert len(problems) == 8792
    with GraderPool(workers=1) as pool:
        verdicts = pool.verdicts((join_steps(split_steps(problem.solution or "")), problem) for problem in problems)
    assert [problem.id for problem, verdict in zip(problems, verdicts, strict=True) if not verdict.right] == []


def test_gsm8k_intermediate_steps_are_not_answers(data) -> None:
    """Without its last line a solution is unfinished, whatever number it ends with."""
    problems = load_problems(f"gsm8k:{data}/gsm8k/test.jsonl")
    with GraderPool(workers=1) as pool:
        right = pool.grade_many([("\n".join(split_steps(p.solution or "")[:-1]), p) for p in problems])
    assert sum(right) == 0


def test_math_references_are_right(data) -> None:
    """All 500 solutions against their own answers; no exceptions."""
    problems = load_problems(f"math:{data}/math500/test.jsonl")
    assert len(problems) == 500
    with GraderPool(workers=1) as pool:
        verdicts = pool.verdicts([(problem.solution or "", problem) for problem in problems])
    wrong = [(problem.id, problem.answer, verdict) for problem, verdict in zip(problems, verdicts, strict=True)
             if not verdict.right]
    assert wrong == []


def test_math_answers_of_other_problems_are_wrong(data) -> None:
    """Each answer against the next problem's: only pairs that are equal may be right."""
    problems = load_problems(f"math:{data}/math500/test.jsonl")[:200]
    shifted = problems[1:] + problems[:1]
    with GraderPool(workers=1) as pool:
        right = pool.grade_many([(f"\\boxed{{{other.answer}}}", problem)
                                 for problem, other in zip(problems, shifted, strict=True)])
    pairs = {(other.answer, problem.answer)
             for problem, other, ok in zip(problems, shifted, right, strict=True) if ok}
    assert pairs <= {("7", "7"), ("3", "3"), ("x=5", "5")}


def test_a_puzzle_has_many_right_answers() -> None:
    problem = Problem("0", "make 10", "8*4/4 + 2", grader="reasoning-gym:countdown",
                      metadata={"numbers": [4, 8, 2, 4], "target": 10})
    texts = {"8*4/4+2": True, "4/4=1\n1*8=8\nThe answer is 4/4*8+2": True, "8+2": False, "10": False,
             "4/(4-4)+8+2": False, "": False}
    with GraderPool(workers=1) as pool:
        assert dict(zip(texts, pool.grade_many([(text, problem) for text in texts]), strict=True)) == texts
