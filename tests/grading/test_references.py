"""Every reference is right by every grader that applies to it.

The committed ones have every form that GSM8K and MATH use; with ERPRM_DATA set, all 9,292 of the data sets as well.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from erprm.grading import GraderPool
from erprm.grading.graders import numeric_equal
from erprm.problems import Problem, load_problems
from erprm.steps import join_steps, split_steps

from .references import GSM8K, MATH

COMMITTED = [Problem(f"{name}-{number}", "?", answer, solution=solution)
             for name, pairs in (("gsm8k", GSM8K), ("math", MATH)) for number, (solution, answer) in enumerate(pairs)]


def gsm8k(data: Path) -> list[Problem]:
    return [problem for name in ("train", "test") for problem in load_problems(f"gsm8k:{data}/gsm8k/{name}.jsonl")]


def texts(problem: Problem) -> list[str]:
    return [join_steps(split_steps(problem.solution or "")), f"So.\nThe answer is {problem.answer}."]


def check(problems: Sequence[Problem], stated: bool = True) -> None:
    """By `math`, `exact` and, where the answer is a number, `numeric`: as the solution ends, and as a sentence."""
    cases = [(text, replace(problem, grader=kind)) for problem in problems
             for kind in ("math", "exact", *(["numeric"] if numeric_equal(problem.answer, problem.answer) else []))
             for text in texts(problem)[:1 + stated]
             if kind == "math" or text.count("\\boxed") < 2]  # two boxes are neither one text nor one number
    with GraderPool(workers=1) as pool:
        verdicts = pool.verdicts(cases)
    assert [(case, verdict) for case, verdict in zip(cases, verdicts, strict=True) if not verdict.right] == []


def test_references_are_right() -> None:
    check(COMMITTED)


def test_gsm8k_references_are_right(data: Path) -> None:
    problems = gsm8k(data)
    assert len(problems) == 8792
    check(problems, stated=False)


def test_math_references_are_right(data: Path) -> None:
    problems = load_problems(f"math:{data}/math500/test.jsonl")
    assert len(problems) == 500
    check(problems)


def test_math_references_of_others_are_wrong(data: Path) -> None:
    """Each answer against the next problem's: only pairs that are equal may be right."""
    pairs = list(pairwise(load_problems(f"math:{data}/math500/test.jsonl")[:200]))
    with GraderPool(workers=1) as pool:
        right = pool.grade_many([(f"\\boxed{{{two.answer}}}", one) for one, two in pairs])
    found = {(two.answer, one.answer) for (one, two), ok in zip(pairs, right, strict=True) if ok}
    assert found <= {("7", "7"), ("3", "3"), ("x=5", "5")}


def test_intermediate_steps_are_not_answers(data: Path) -> None:
    """Without its last line a solution is unfinished, whatever number it ends with."""
    problems = load_problems(f"gsm8k:{data}/gsm8k/test.jsonl")
    with GraderPool(workers=1) as pool:
        right = pool.grade_many([("\n".join(split_steps(p.solution or "")[:-1]), p) for p in problems])
    assert sum(right) == 0
