"""The graders that run in worker processes: math-verify, reasoning-gym's verifiers, a user's Python function.

Each is a function Task -> reward in [0, 1], built once per worker by `load`; time-outs are the parent's business, so
math-verify's own, which are signals, are switched off.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import tokenize
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from erprm.errors import InputError, import_extra
from erprm.grading.alphabets import ANSWERS, FIELDS
from erprm.grading.comparing import ROUNDED, equal
from erprm.grading.expressions import read_expression
from erprm.grading.extraction import Extraction
from erprm.grading.graders import grader_of
from erprm.problems import Problem


@dataclass(frozen=True, slots=True)
class Task:
    """One answer to be checked. `answer` is what `graders.answer_for` made of the completion."""

    kind: str
    answer: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class Reading:
    """A long text, in which `kind` has its answer looked for."""

    kind: str
    text: str
    extraction: Extraction


Verifier = Callable[[Task], float]  # a reward in [0, 1]
# What a grader may raise on a strange answer: a verdict. Anything else ends the process, which the pool reports.
ANSWER_ERRORS = (ArithmeticError, AssertionError, AttributeError, BufferError, LookupError, MemoryError, NameError,
                 OSError, RuntimeError, SyntaxError, TypeError, ValueError, ImportError, StopIteration,
                 tokenize.TokenError)


def load(kind: str) -> Verifier:
    """The verifier for `kind`, with everything that it needs imported.

    Raises:
        InputError: for an unknown task, module or function.
        MissingExtraError: where reasoning-gym is not installed.
    """
    compare = grader_of(kind).compare
    family, _, rest = kind.partition(":")
    if family == "math":
        import math_verify  # noqa: F401 - imported here, so that its seconds do not count against the first answer

        logging.getLogger("math_verify").setLevel(logging.CRITICAL)
        return _math
    if compare is not None:
        return lambda task: float(bool(compare(task.answer, task.problem.answer)))
    if family == "reasoning-gym":
        return _reasoning_gym(rest)
    return _python(rest)


def _math(task: Task) -> float:
    return float(bool(equal(task.answer, task.problem.answer, _by_algebra)))


def _by_algebra(answer: str, gold: str) -> bool:
    """Whether two expressions are equal: numbers by their first 25 digits (math-verify rounds to six decimal places,
    which takes e^{-30} for e^{-31}), others by math-verify."""
    import sympy
    from math_verify import verify

    left, right = _parse(answer), _parse(gold)
    numbers = [values[0].subs({name: sympy.I for name in values[0].free_symbols if str(name) == "i"})
               for values in (left, right) if values and isinstance(values[0], sympy.Expr)]
    if len(numbers) == 2 and not numbers[0].free_symbols | numbers[1].free_symbols:
        a, b = (sympy.N(number, 40) for number in numbers)
        if not (a.is_finite and b.is_finite):
            return bool(a == b)
        decimals = [value for value in map(read_expression, (answer, gold)) if value.digits]
        if len(decimals) == 1 and decimals[0].digits >= ROUNDED:
            return bool(abs(a - b) * 2 <= sympy.Integer(10) ** -decimals[0].places)
        return bool(abs(a - b) <= sympy.Float("1e-25") * sympy.Max(abs(a), abs(b)))
    return bool(verify(right, left, timeout_seconds=None))


@functools.lru_cache(maxsize=1024)
def _parse(expression: str) -> list[Any]:
    """By the reader of TeX alone: the one of plain expressions evaluates them as Python."""
    from math_verify import LatexExtractionConfig, parse

    return list(parse(f"\\boxed{{{expression}}}", extraction_config=[LatexExtractionConfig()], parsing_timeout=None))


def _reasoning_gym(task_name: str) -> Verifier:
    import_extra("reasoning_gym", "reasoning-gym")
    from reasoning_gym.factory import DATASETS, get_score_answer_fn

    if task_name not in DATASETS:
        raise InputError(f"grader: reasoning-gym has no task {task_name!r}")
    score = get_score_answer_fn(task_name)

    alphabet, (field, field_alphabet) = ANSWERS.get(task_name), FIELDS.get(task_name, ("", None))

    def verify(task: Task) -> float:
        evaluated = task.problem.answer if field == "answer" else str(task.problem.metadata.get(field, ""))
        if field_alphabet is not None and not field_alphabet.holds(evaluated):
            raise ValueError(f"{field}: what the verifier would run holds more than its task's signs")
        if alphabet is not None and not alphabet.holds(task.answer):
            return 0.0
        entry: Mapping[str, Any] = {"question": task.problem.question, "answer": task.problem.answer,
                                    "metadata": dict(task.problem.metadata)}
        return min(1.0, max(0.0, float(score(answer=task.answer, entry=entry))))

    return verify


def _from_file(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _python(target: str) -> Verifier:
    module_name, _, name = target.partition(":")
    try:
        module = _from_file(module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise InputError(f"grader python:{target}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"grader python:{target}: module {module_name} has no function {name}")

    def verify(task: Task) -> float:
        reward = float(function(task.answer, task.problem))
        if not 0.0 <= reward <= 1.0:
            raise ValueError(f"expected a number in [0, 1], found {reward}")
        return reward

    return verify
