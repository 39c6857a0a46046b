r"""Answer checking: about 5,000 completions, by `GraderPool` and by one grader call for each.

    python bench/grading.py                        # references made here, into bench/results/
    python bench/grading.py --data DATA            # real ones: DATA/gsm8k/test.jsonl and DATA/math500/test.jsonl

79 problems of 64 completions, two thirds with GSM8K's references and one third with MATH500's. Completions are made up,
every one with its own wording. The share of right ones differs evenly between problems; a right answer stands in one of
several spellings. Wrong answers of a problem repeat as a policy's do: the next is a new one with probability
5 / (5 + wrong answers so far), else one drawn from these (a Chinese restaurant process, so that frequent mistakes stay
frequent). A new one is the reference with one number changed, or another problem's answer. "grading_distinct" has no
repeats: 960 completions of 15 problems, each with an (answer, reference) pair of its own.

Rivals check every completion by itself, in one process: math-verify on the completion's text; math-verify on the answer
that this package extracts ("extracted, math-verify on each"); and all of this package's grader, exact comparison before
math-verify, but without its memory and its processes ("own grader on each"). "erprm" starts with nothing remembered and
its workers running, as in any but the first second of a run; "erprm-with-start" starts them too. "over pebble", where
that package is installed, remembers and decides as erprm does, and gives what is left to a pebble.ProcessPool with the
same time limit, its workers running. Before anything is timed, the pool and the same grader called for each must agree
on every completion.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common

from erprm.grading import GraderPool, answers, expressions, normalise, verifiers
from erprm.grading.comparing import equal
from erprm.grading.graders import grader_of, reference_for
from erprm.grading.verifiers import Task, load
from erprm.problems import Problem, load_problems

PROBLEMS, EACH, RUNS, NEW = 79, 64, 3, 5.0
Work = list[tuple[str, Problem]]


def references(data: Path | None, draw: random.Random) -> list[str]:
    """One reference for each problem, MATH's at every third place."""
    if data is not None:
        math = [problem.answer for problem in load_problems(f"math:{data / 'math500' / 'test.jsonl'}")]
        grade_school = [reference_for("math", problem.answer)
                        for problem in load_problems(f"gsm8k:{data / 'gsm8k' / 'test.jsonl'}")]
    else:
        forms = ["{0}", "{0}", "{0}", r"\frac{{{0}}}{{{1}}}", r"{0}\sqrt{{{1}}}", r"\frac{{{0}\sqrt{{{1}}}}}{{{2}}}",
                 r"({0},{1})", r"{0}x^2-{1}", r"\begin{{pmatrix}} {0} \\ {1} \end{{pmatrix}}", r"{0}\pi", "x={0}"]
        math = [form.format(*(draw.choice((2, 3, 5, 7, 11)) * draw.randint(1, 9) + 1 for _ in range(3)))
                for form in draw.choices(forms, k=500)]
        grade_school = [str(draw.randint(1, 3000)) for _ in range(1000)]
    return [draw.choice(grade_school if number % 3 else math) for number in range(PROBLEMS)]


def spellings(gold: str, draw: random.Random) -> str:
    """The reference itself, or another way to write it."""
    if gold.isdecimal():
        return draw.choice((gold, gold, gold, f"{int(gold):,}", f"{gold}.0", f"{gold}.00"))
    return draw.choice((gold, gold, gold.replace("\\frac", "\\dfrac"), gold.replace(" ", "")))


def mistake(gold: str, others: list[str], draw: random.Random) -> str:
    """The reference with a number changed, or another problem's answer."""
    numbers = list(re.finditer(r"\d+", gold))
    if not numbers or draw.random() < 0.2:
        return draw.choice([other for other in others if other != gold])
    place = draw.choice(numbers)
    value = max(0, int(place[0]) + draw.choice((-2, -1, 1, 2, 3, 9, 10, 90)) * draw.choice((1, 1, 1, 7)))
    return gold[:place.start()] + str(value) + gold[place.end():]


def completions(golds: list[str], draw: random.Random, repeats: bool) -> Work:
    """(text, problem), the completions of a problem in a row."""
    made: Work = []
    for number, gold in enumerate(golds):
        problem, wrong, used = Problem(str(number), f"Problem {number}?", gold), list[str](), set[str]()
        while len(used) < EACH:
            if draw.random() < (number + 0.5) / PROBLEMS and (repeats or not used):
                answer = spellings(gold, draw)
            elif repeats and draw.random() >= NEW / (NEW + len(wrong)):
                answer = draw.choice(wrong)
                wrong.append(answer)
            else:
                answer = mistake(gold, golds, draw) if repeats else f"{mistake(gold, golds, draw)}+{len(used)}y"
                wrong.append(answer)
            used.add(f"attempt {len(used)}" if repeats else answer)
            text = draw.choice((r"The answer is $\boxed{{{}}}$.", r"So we get $\boxed{{{}}}$.", "#### {}"))
            made.append((f"First, attempt {len(used)} of {number}, we add what is given.\nThen we simplify, "
                         f"{draw.randint(0, 999)} times.\n{text.format(answer)}", problem))
    return made


def forget() -> None:
    """Empty the memory of this process, sympy's included, so that no run profits from the one before."""
    import sympy

    sympy.core.cache.clear_cache()
    forget_answers()


def forget_answers() -> None:
    """Empty this package's memory of spellings."""
    verifiers._parse.cache_clear()
    normalise.notation.cache_clear()
    answers.read.cache_clear()
    expressions.read_expression.cache_clear()


def own_grader(work: Work, exact_first: bool = True) -> list[bool]:
    """This package's grader on every completion, nothing remembered between them."""
    verify = load("math")
    verdicts = []
    forget()
    for text, problem in work:
        forget_answers()
        answer, gold = grader_of("math").answer(text), reference_for("math", problem.answer)
        right = False if answer is None else equal(answer, gold) if exact_first else None
        verdicts.append(bool(verify(Task("math", answer or "", Problem("", "", gold)))) if right is None else right)
    return verdicts


def math_verify(work: Work) -> list[bool]:
    """math-verify on every completion's text, with its own defaults."""
    from math_verify import parse, verify

    forget()
    return [bool(verify(parse(f"${problem.answer}$"), parse(text))) for text, problem in work]


def pooled(pools: Callable[[], GraderPool], work: Work) -> list[bool]:
    """A pool that remembers nothing yet."""
    forget()
    with pools() as pool:
        return pool.grade_many(work)


def verdict(answer: str, gold: str) -> bool:
    """One answer by math-verify, in a pebble worker."""
    return bool(load("math")(Task("math", answer, Problem("", "", gold))))


def over_pebble(pool: Any, work: Work) -> list[bool]:
    """Each distinct (answer, reference) once: here where that is certain, else by a worker of `pool`."""
    forget()
    known: dict[tuple[str | None, str], Any] = {}
    keys = [(grader_of("math").answer(text), reference_for("math", problem.answer)) for text, problem in work]
    for answer, gold in keys:
        if (answer, gold) not in known:
            right = False if answer is None else equal(answer, gold)
            known[answer, gold] = pool.schedule(verdict, args=(answer, gold), timeout=10) if right is None else right
    return [found if isinstance(found := known[key], bool) else found.result() for key in keys]


def started() -> GraderPool:
    """A pool whose workers run and have graded every kind of answer; what they graded is no completion's answer."""
    pool = GraderPool()
    forms = (r"\cos({}x)", r"(-1,{0}) \cup ({0},\infty)", "x={}", "{}_7", r"\frac{{\sqrt{{{}}}+1}}{{\sqrt{{2}}-1}}",
             r"\text{{north{}}}", "{},-5")
    pool.grade_many([(rf"\boxed{{{form.format(n)}}}", Problem(str(n), "", forms[(n + n // 7) % 7].format(n + 1)))
                     for n in range(1000, 1140) for form in [forms[n % 7]]])
    return pool


def compare(name: str, work: Work) -> list[common.Record]:
    """Check that all agree, then time them."""
    with GraderPool() as pool:
        found = pool.grade_many(work)
        report = pool.report
    expected = own_grader(work)
    assert found == expected, f"{sum(a != b for a, b in zip(found, expected, strict=True))} verdicts differ"
    for title, rival in (("the texts", math_verify(work)), ("the answers", own_grader(work, exact_first=False))):
        agreed = sum(a == b for a, b in zip(found, rival, strict=True))
        print(f"math-verify on {title} agrees on {agreed:,} of {len(work):,}")
    print(f"{name}: {sum(found):,} right; {report}")
    ready = [started() for _ in range(RUNS + 1)]  # measure() warms up once
    providers: dict[str, Callable[[], object]] = {
        "erprm": lambda: pooled(ready.pop, work), "erprm-with-start": lambda: pooled(GraderPool, work),
        "math-verify on each": lambda: math_verify(work),
        "extracted, math-verify on each": lambda: own_grader(work, exact_first=False),
        "own grader on each": lambda: own_grader(work)}
    if importlib.util.find_spec("pebble") is not None:
        import pebble

        workers = pebble.ProcessPool(max_workers=len(os.sched_getaffinity(0)))
        assert over_pebble(workers, work) == found  # and its workers have graded
        providers["over pebble"] = lambda: over_pebble(workers, work)
    return common.measure(name, providers, dtype="text", mode="whole", seconds=0.0, least=RUNS, shape={
        "completions": len(work), "distinct": report.distinct, "by workers": report.calls})


def main() -> None:
    """Check, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with gsm8k/test.jsonl and math500/test.jsonl")
    parser.add_argument("--output", type=Path, help="result file (default: bench/results/<machine>-<date>.json)")
    parser.add_argument("--smoke", action="store_true", help="four problems, only to see that it works")
    given = parser.parse_args()
    records: list[common.Record] = []
    for name, problems in (("grading", PROBLEMS), ("grading_distinct", PROBLEMS // 5)):
        draw = random.Random(0)
        chosen = references(given.data, draw)[:4 if given.smoke else problems]
        records += compare(name, completions(chosen, draw, repeats=name == "grading"))
    print(common.table(records))
    print(common.write(records, given.output))


if __name__ == "__main__":
    main()
