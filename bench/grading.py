"""Answer checking: 5,000 completions with repeats, by `GraderPool` and by one grader call for each.

    python bench/grading.py                        # into bench/results/

100 problems of 50 completions. Every completion has its own wording; about half are right, each in one of several
spellings, the others spread over a few wrong answers as a policy's are. A third of the problems have answers that are
expressions (fractions, roots, powers). Two rivals check every completion by itself, in one process: math-verify on the
completion's text, and this package's own grader without its memory. "erprm" starts with nothing remembered and its
workers running, as in any but the first second of a run; "erprm-with-start" makes the pool and starts its workers too.
Before anything is timed, the pool and the same grader called for each must agree on every completion.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import common

from erprm.grading import GraderPool
from erprm.grading.graders import answer_for, decide, reference_for
from erprm.grading.verifiers import Task, load
from erprm.problems import Problem

PROBLEMS, EACH, RUNS = 100, 50, 3
Work = list[tuple[str, Problem]]


def completions(seed: int = 0) -> Work:
    """(text, problem), the completions of a problem in a row."""
    draw = random.Random(seed)
    made: Work = []
    for number in range(PROBLEMS):
        value, other = draw.randint(10, 2000), draw.choice((2, 3, 5, 7))
        if number % 3:
            gold, spellings = str(value), (f"{value}", f"{value:,}", f"{value}.0", f"${value}$")
            wrong = [str(value + step) for step in (1, -1, 10, 7, other)]
        else:
            value = 2 * value + 1
            gold = rf"\frac{{{value}\sqrt{{{other}}}}}{{2}}"
            spellings = (gold, rf"\dfrac{{{value}\sqrt{{{other}}}}}{{2}}", rf"{value}\sqrt{{{other}}}/2",
                         rf"\frac{{{value}}}{{2}}\sqrt{{{other}}}")
            wrong = [rf"\frac{{{value + 2}\sqrt{{{other}}}}}{{2}}", rf"{value}\sqrt{{{other}}}",
                     rf"{value}^{{{other}}}", rf"\frac{{{value}}}{{2}}", r"\frac{\pi}{2}"]
        problem = Problem(str(number), f"Problem {number}?", gold)
        for sample in range(EACH):
            answer = draw.choice(spellings) if draw.random() < 0.5 else draw.choice(wrong)
            made.append((f"First, attempt {sample} of {number}, we add what is given.\nThen we simplify, "
                         f"{draw.randint(0, 999)} times.\nThe answer is $\\boxed{{{answer.strip('$')}}}$.", problem))
    return made


def own_grader(work: Work) -> list[bool]:
    """This package's grader on every completion, nothing remembered between them."""
    verify = load("math")
    verdicts = []
    for text, problem in work:
        answer, gold = answer_for("math", text), reference_for("math", problem.answer)
        if answer is None:
            verdicts.append(False)
            continue
        right = decide(answer, gold)
        verdicts.append(verify(Task("math", answer, Problem("", "", gold), 1.0)) if right is None else right)
    return verdicts


def math_verify(work: Work) -> list[bool]:
    """math-verify on every completion's text, with its own defaults."""
    from math_verify import parse, verify

    return [bool(verify(parse(f"${problem.answer}$"), parse(text))) for text, problem in work]


def pooled(pools: Callable[[], GraderPool], work: Work) -> list[bool]:
    """A pool that remembers nothing yet."""
    with pools() as pool:
        return pool.grade_many(work)


def started() -> GraderPool:
    """A pool whose workers run; what they were started with is no completion's answer."""
    pool = GraderPool()
    pool.grade_many([(rf"\boxed{{x^{{{n}}}+1}}", Problem(str(n), "", rf"1+x^{{{n}}}")) for n in range(2, 66)])
    return pool


def main() -> None:
    """Check, measure, write."""
    work = completions()
    with GraderPool() as pool:
        found = pool.grade_many(work)
        print(pool.report)
    expected = own_grader(work)
    assert found == expected, f"{sum(a != b for a, b in zip(found, expected, strict=True))} verdicts differ"
    agreed = sum(a == b for a, b in zip(found, math_verify(work), strict=True))
    print(f"math-verify on the whole texts agrees on {agreed:,} of {len(work):,}")
    ready = [started() for _ in range(RUNS + 1)]  # measure() warms up once
    records = common.measure(
        "grading", {"erprm": lambda: pooled(ready.pop, work), "erprm-with-start": lambda: pooled(GraderPool, work),
                    "grader on each": lambda: own_grader(work), "math-verify on each": lambda: math_verify(work)},
        shape={"completions": len(work), "problems": PROBLEMS}, dtype="text", mode="grade", seconds=0.0, least=RUNS)
    print(common.table(records))
    print(common.write(records))


if __name__ == "__main__":
    main()
