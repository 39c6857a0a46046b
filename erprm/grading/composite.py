"""Rewards composed of several graders: a small expression over their names.

    with CompositePool("accuracy*0.8 + format*0.2", format_pattern=r"<think>.*</think>") as pool:
        verdict = pool.verdicts([(text, problem)])[0]
        verdict.reward, verdict.parts                      # 0.8, {"accuracy": 1.0, "format": 0.0}

Names are `accuracy` (the problem's own grader), the graders of `erprm.grading.graders` ("math", "numeric",
"reasoning-gym:TASK", "python:file.py:function", ...), `format` (the whole text matches a regular expression) and
`length` (1 up to a number of characters, from there on falling to 0 at twice as many), and `judge:PROMPT_FILE`, a
language model (`erprm.judging.grader`), whose name ends at white space, a comma, a parenthesis, * or +. They are
joined by + - * /, min, max, numbers and parentheses. The expression is read, never run as Python; that it stays within
[0, 1] and divides by nothing that can be 0 is checked before anything is graded, by interval arithmetic.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import regex

from erprm.errors import InputError
from erprm.grading.extract import after_thinking
from erprm.grading.graders import grader_names, grader_of
from erprm.grading.pool import GraderPool, Verdict
from erprm.problems import Problem

ACCURACY, FORMAT, LENGTH, JUDGE = "accuracy", "format", "length", "judge:"
_NAME = re.compile(r"(?<![\w.])(?:judge:[^\s*+(),]+|python:(?:[^\s:*+()]+\.py|[\w.]+):\w+|reasoning-gym:\w+"
                   r"|[A-Za-z_]\w*)")
_SIGNS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_CALLS: dict[str, Callable[..., float]] = {"min": min, "max": max}
NO_VERDICT = "without a judge's verdict"
_SLACK = 1e-9  # 0.8 + 0.2 is not exactly 1
_SECONDS = 1.0  # of a pattern in one text


@dataclass(frozen=True, slots=True)
class Composite:
    """An expression over parts in [0, 1].

    Attributes:
        text: as it was written.
        parts: the graders' names, in the order in which they stand in the text.
    """

    text: str
    parts: tuple[str, ...]
    _tree: ast.expr
    _names: Mapping[str, str]  # of the tree -> of the graders

    @classmethod
    def read(cls, text: str) -> Composite:
        """The expression in `text`.

        Raises:
            InputError: for anything but names, numbers, + - * / and min, max; an unknown grader; a value that can
                leave [0, 1]; a division by what can be 0.
        """
        names: dict[str, str] = {}

        def placeholder(match: re.Match[str]) -> str:
            if match[0] in _CALLS:
                return match[0]
            return names.setdefault(match[0], f"part{len(names)}")

        try:
            tree = ast.parse(_NAME.sub(placeholder, text), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise InputError(f"grader: expected names of graders joined by + - * / in {text!r:.80}, found no such "
                             "expression") from error
        for name in names:
            if name not in (ACCURACY, FORMAT, LENGTH) and not name.startswith(JUDGE):
                _check_grader(name)
        found = cls(text, tuple(names), tree, {placed: name for name, placed in names.items()})
        if not names:
            raise InputError(f"grader: expected at least one grader's name in {text!r:.80}, found none")
        low, high = found._bounds(tree)
        if low < -_SLACK or high > 1.0 + _SLACK:
            raise InputError(f"grader: expected weights that keep {text!r:.80} within [0, 1], found {low:g} to "
                             f"{high:g}")
        return found

    def value(self, parts: Mapping[str, float]) -> float:
        """The reward of a completion from those of its parts, in [0, 1]."""
        return min(1.0, max(0.0, self._value(self._tree, parts)))

    def _value(self, node: ast.expr, parts: Mapping[str, float]) -> float:
        if isinstance(node, ast.Constant):
            return float(node.value)  # type: ignore[arg-type]  # _bounds has looked at it
        if isinstance(node, ast.Name):
            return parts[self._names[node.id]]
        if isinstance(node, ast.UnaryOp):
            return -self._value(node.operand, parts)
        if isinstance(node, ast.Call):
            return _CALLS[node.func.id](*(self._value(each, parts) for each in node.args))  # type: ignore[attr-defined]
        assert isinstance(node, ast.BinOp)
        return _SIGNS[type(node.op)](self._value(node.left, parts), self._value(node.right, parts))

    def _bounds(self, node: ast.expr) -> tuple[float, float]:
        """The least and the largest value, for parts anywhere in [0, 1]. Raises InputError for what is not allowed."""
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and abs(node.value) < 1e9:
            return float(node.value), float(node.value)
        if isinstance(node, ast.Name) and node.id in self._names:
            return 0.0, 1.0
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            low, high = self._bounds(node.operand)
            return -high, -low
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS \
                and len(node.args) > 1 and not node.keywords:
            lows, highs = zip(*(self._bounds(each) for each in node.args), strict=True)
            return _CALLS[node.func.id](*lows), _CALLS[node.func.id](*highs)
        if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
            left, right = self._bounds(node.left), self._bounds(node.right)
            if isinstance(node.op, ast.Div) and right[0] <= 0.0 <= right[1]:
                raise InputError(f"grader: expected no division by what can be 0 in {self.text!r:.80}, found one")
            if isinstance(node.op, ast.Sub):
                return left[0] - right[1], left[1] - right[0]
            ends = [_SIGNS[type(node.op)](one, other) for one in left for other in right] \
                if not isinstance(node.op, ast.Add) else [left[0] + right[0], left[1] + right[1]]
            return min(ends), max(ends)
        raise InputError(f"grader: expected names, numbers, + - * /, min and max in {self.text!r:.80}, found "
                         f"{type(node).__name__}")


def _check_grader(name: str) -> None:
    try:
        grader_of(name)
    except InputError as error:
        raise InputError(f"grader: expected {ACCURACY}, {FORMAT}, {LENGTH}, {JUDGE}PROMPT_FILE or one of "
                         f"{grader_names()}, found {name!r:.80}") from error


class Judging(Protocol):
    """A language model that grades: `erprm.judging.grader.JudgeGrader`."""

    def settings(self) -> dict[str, str]:
        """What its rewards depend on, for a store."""

    def rewards(self, part: str, asked: Sequence[tuple[str, Problem]]) -> list[float | None]:
        """The reward of each (text, problem) by the part's prompt, in order; None: no verdict."""

    def close(self) -> None:
        """Free what it holds."""


class CompositePool(GraderPool):
    """Grades with every part of an expression; the reward is its value, `right` what `accuracy` says, or else the first
    part.

    Args:
        expression: of `Composite.read`.
        format_pattern: for `format`; has to match the whole text, with . for line ends too.
        length_limit: for `length`, in characters.
        judge: for the parts that begin with "judge:"; closed with the pool.
        options: of `GraderPool`.

    Raises:
        InputError: as `Composite.read`; for a part without its option, or a pattern that is no regular expression.
    """

    def __init__(self, expression: str, format_pattern: str | None = None, length_limit: int | None = None,
                 judge: Judging | None = None, **options: Any) -> None:
        super().__init__(**{**options, "graded": True})
        self.composite = Composite.read(expression)
        for part, given, name in ((FORMAT, format_pattern, "format_pattern"), (LENGTH, length_limit, "length_limit")):
            if part in self.composite.parts and given is None:
                raise InputError(f"grader: expected a {name} for {part!r}, found none")
        self._judge = judge
        judged = next((part for part in self.composite.parts if part.startswith(JUDGE)), None)
        if judged is not None and judge is None:
            raise InputError(f"grader: expected a judging model for {judged!r:.80}, found none")
        if length_limit is not None and length_limit < 1:
            raise InputError(f"length_limit: expected at least 1 character, found {length_limit}")
        try:
            self._pattern = regex.compile(format_pattern or "", regex.DOTALL)
        except regex.error as error:
            raise InputError(f"format_pattern: expected a regular expression, found {format_pattern!r}: {error}"
                             ) from error
        self._limit = length_limit or 0
        self._settings = {"grader.parts": ", ".join(sorted(self.composite.parts))} | {
            f"grader.{name}": str(given) for name, given in ((FORMAT, format_pattern), (LENGTH, length_limit))
            if name in self.composite.parts}

    def settings(self) -> dict[str, str]:
        """The parts, without their weights: with others, the rewards follow from what was kept."""
        return {**super().settings(), **self._settings, **(self._judge.settings() if self._judge else {})}

    def total(self, reward: float, parts: Mapping[str, float]) -> float:
        """The expression's value for these parts."""
        return self.composite.value(parts)

    def unsaid(self, verdict: Verdict) -> Verdict:
        """Without an answer, all but the form counts 0."""
        parts = {part: value if part in (FORMAT, LENGTH) else 0.0 for part, value in verdict.parts.items()}
        return replace(super().unsaid(verdict), reward=self.composite.value(parts), parts=parts)

    def verdicts(self, completions: Iterable[tuple[str, Problem]]) -> list[Verdict]:
        """The verdict on each (text, problem), in order, with its parts. Raises InputError as `GraderPool.verdicts`."""
        asked = list(completions)
        found: dict[str, list[Verdict]] = {}
        for part in self.composite.parts:
            if part == FORMAT:
                found[part] = [Verdict(False, None, reward=self._format(text)) for text, _ in asked]
            elif part == LENGTH:
                found[part] = [Verdict(False, None, reward=self._length(text)) for text, _ in asked]
            elif part.startswith(JUDGE):
                found[part] = self._judged(part, asked)
            else:
                kinds = {problem.grader: problem.grader if part == ACCURACY else part for _, problem in asked}
                same: dict[int, Problem] = {}  # one object for each problem, as the pool expects it
                found[part] = super().verdicts(
                    (text, same.setdefault(id(problem), replace(problem, grader=kinds[problem.grader])))
                    for text, problem in asked)
        first = ACCURACY if ACCURACY in found else self.composite.parts[0]
        result = []
        for number, verdict in enumerate(found[first]):
            parts = {part: found[part][number].reward for part in self.composite.parts}
            result.append(replace(verdict, reward=self.composite.value(parts), parts=parts))
        return result

    def close(self) -> None:
        """End the workers, and the judge. The pool may be used again."""
        super().close()
        if self._judge is not None:
            self._judge.close()

    def _judged(self, part: str, asked: Sequence[tuple[str, Problem]]) -> list[Verdict]:
        """The judge's verdicts; without one the reward is 0, and counted."""
        assert self._judge is not None
        stated = self._answers(dict.fromkeys((problem.grader, text) for text, problem in asked))
        rewards = self._judge.rewards(part, asked)
        nothing = sum(reward is None for reward in rewards)
        with self._lock:
            self.report.answers += len(asked)
            if nothing:
                self.report.reasons[NO_VERDICT] = self.report.reasons.get(NO_VERDICT, 0) + nothing
        return [Verdict(reward is not None and 0 < reward >= self.threshold, stated[problem.grader, text].answer,
                        NO_VERDICT if reward is None else "", reward or 0.0)
                for (text, problem), reward in zip(asked, rewards, strict=True)]

    def _format(self, text: str) -> float:
        try:
            return float(self._pattern.fullmatch(text.strip(), timeout=_SECONDS) is not None)
        except TimeoutError:
            return 0.0

    def _length(self, text: str) -> float:
        return min(1.0, max(0.0, 2.0 - len(after_thinking(text)) / self._limit))
