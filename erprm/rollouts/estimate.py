"""What labelling would cost, from the solutions alone: counts are exact, tokens are a guess from the texts' lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from erprm.problems import Problem
from erprm.rollouts.run import LabelOptions, plan_labels
from erprm.rows import StepRow

_CHARACTERS_PER_TOKEN = 3.0  # of mathematical English; 4 for prose, 2 for digits


@dataclass(frozen=True, slots=True)
class Estimate:
    """Counts of a labelling run that has not begun.

    Attributes:
        steps: of all solutions; prefixes: distinct unfinished ones, which are sampled.
        finished: steps that end a solution, which are not.
        completions: with an adaptive rule, the most there can be.
        tokens: a completion is taken to be as long as what the solution still says, at most max_tokens.
    """

    problems: int
    solutions: int
    steps: int
    prefixes: int
    finished: int
    completions: int
    tokens: float

    def __str__(self) -> str:
        repeated = self.steps - self.finished - self.prefixes
        return (f"label: {self.solutions:,} solutions to {self.problems:,} problems, {self.steps:,} steps: "
                f"{self.prefixes:,} distinct unfinished prefixes ({self.finished:,} steps end a solution, {repeated:,} "
                f"repeat a prefix); {self.completions:,} completions, about {self.tokens:,.0f} tokens")


def estimate(problems: Sequence[Problem], rows: Sequence[StepRow], options: LabelOptions, max_tokens: int,
             source: str) -> Estimate:
    """Count what `label` would do; nothing is loaded, graded or written. Raises InputError as `label` does."""
    rows, plan, nodes = plan_labels(problems, rows, {}, None, options, source)
    n = options.adaptive.n_max if options.adaptive else options.n
    remaining = np.zeros(len(plan.open))
    for row, places in zip(rows, nodes, strict=True):
        lengths = np.array([len(step) + 1 for step in row.steps], np.float64)
        remaining[places] = lengths.sum() - lengths.cumsum()
    tokens = float(np.minimum(remaining[plan.open] / _CHARACTERS_PER_TOKEN + 1, max_tokens).sum() * n)
    if options.token_budget is not None:
        tokens = min(tokens, options.token_budget)
    totals = plan.ledger.totals()
    return Estimate(problems=totals["problems"], solutions=len(rows), steps=totals["steps"],
                    prefixes=int(plan.open.sum()), finished=len(rows) - plan.unfinished,
                    completions=int(plan.open.sum()) * n, tokens=tokens)
