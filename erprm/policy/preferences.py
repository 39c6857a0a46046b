"""What a scored pool teaches a policy: its best solutions (RAFT), or pairs of a better and a worse one (DPO).

    best_solutions(rows, scores)                       # one StepRow per problem
    preference_pairs(rows, scores, margin=0.2)         # [{"prompt", "chosen", "rejected"}], as TRL's DPOTrainer reads
    step_forks(rows, step_scores, margin=0.2)          # the same for single steps behind a common prefix
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError
from erprm.rows import StepRow
from erprm.steps import join_steps, prefix_text


def best_solutions(rows: Sequence[StepRow], scores: npt.ArrayLike, minimum: float = 0.0, keep: int = 1,
                   ) -> list[StepRow]:
    """The best-scored finished solutions of each problem (RAFT, arXiv 2304.06767), in the problems' order.

    Args:
        rows: R solutions; those of a problem share `problem_key`.
        scores: [R], one number per solution, higher is better.
        minimum: a solution that scores less is left out.
        keep: at most so many different ones of a problem, the best first; 0: all.

    Raises:
        InputError: when the numbers of rows and scores differ.
    """
    best = []
    for ranked, values in _ranked(rows, scores):
        different: dict[tuple[str, ...], StepRow] = {}
        for index, value in zip(ranked, values, strict=True):
            if value >= minimum:
                different.setdefault(rows[index].steps, rows[index])
        best += list(different.values())[: keep or None]
    return best


def preference_pairs(rows: Sequence[StepRow], scores: npt.ArrayLike, margin: float = 0.0, splitter: str = "newline",
                     template: PromptTemplate | None = None) -> list[dict[str, Any]]:
    """The best and the worst solution of each problem, where their scores differ by more than `margin`.

    Args:
        rows, scores: as for `best_solutions`.
        template: puts the question into the text that the policy continues, or into the turns of a chat.

    Returns:
        One {"prompt", "chosen", "rejected"} per problem that has such a pair: TRL's preference format, of texts, or of
        chat turns where the template is a chat's.
    """
    template = template or PromptTemplate()
    pairs = []
    for ranked, values in _ranked(rows, scores):
        best, worst = rows[ranked[0]], rows[ranked[-1]]
        if values[0] - values[-1] > margin and best.steps != worst.steps:
            chosen, rejected = (join_steps(row.steps, splitter, gaps=row.gaps) for row in (best, worst))
            pairs.append(_pair(template, best.prompt, chosen, rejected))
    return pairs


@dataclass(slots=True)
class _Branch:
    """A step behind a prefix: its text, its score, whether the solution ends with it."""

    text: str
    score: float
    ended: bool


def step_forks(rows: Sequence[StepRow], step_scores: Sequence[npt.ArrayLike], margin: float = 0.0,
               splitter: str = "newline", template: PromptTemplate | None = None) -> list[dict[str, Any]]:
    """The best and the worst next step behind every prefix that solutions of a problem share (as in Step-DPO, arXiv
    2406.18629), where their scores differ by more than `margin`.

    Args:
        rows: R solutions; those of a problem share `problem_key`. The last step of one that was cut off is left out.
        step_scores: [R] lists of step scores [L].
        template: as for `preference_pairs`.

    Returns:
        Pairs as of `preference_pairs`, with the text of the common steps in "prefix" and in "ended" the names of those
        sides that end their solution.
    """
    if len(step_scores) != len(rows):
        raise InputError(f"step_scores: expected one list per row ({len(rows)}), found {len(step_scores)}")
    template = template or PromptTemplate()
    forks: dict[tuple[str, str], dict[str, _Branch]] = {}
    questions: dict[str, str] = {}
    for row, scores in zip(rows, map(np.asarray, step_scores), strict=True):
        questions.setdefault(row.problem_key, row.prompt)
        whole = join_steps(row.steps, splitter, gaps=row.gaps)
        prefix = ""
        for number in range(len(row.steps) if row.finished else len(row.steps) - 1):
            last = number + 1 == len(row.steps)
            longer = whole if last else prefix_text(row.steps, number + 1, splitter, gaps=row.gaps)
            step = longer[len(prefix):]
            forks.setdefault((row.problem_key, prefix), {}).setdefault(
                step, _Branch(step, float(scores[number]), last))
            prefix = longer
    pairs = []
    for (problem, prefix), branches in forks.items():
        ranked = sorted(branches.values(), key=lambda branch: -branch.score)
        best, worst = ranked[0], ranked[-1]
        if best.score - worst.score > margin:
            pairs.append(_pair(template, questions[problem], best.text, worst.text) | {
                "prefix": prefix, "ended": [side for side, branch in (("chosen", best), ("rejected", worst))
                                            if branch.ended]})
    return pairs


def _pair(template: PromptTemplate, question: str, chosen: str, rejected: str) -> dict[str, Any]:
    asked = template.text.replace("{question}", question)
    if template.kind == "plain":
        return {"prompt": asked, "chosen": chosen, "rejected": rejected}
    turns = [_turn("system", template.system)] if template.system is not None else []
    return {"prompt": [*turns, _turn("user", asked.rstrip("\n"))],
            "chosen": [_turn("assistant", chosen)], "rejected": [_turn("assistant", rejected)]}


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _ranked(rows: Sequence[StepRow], scores: npt.ArrayLike) -> Iterator[tuple[list[int], npt.NDArray[np.float64]]]:
    """For each problem with a finished solution: the rows' indices, best first, and their scores."""
    values = np.asarray(scores, np.float64)
    if values.shape != (len(rows),):
        raise InputError(f"scores: expected one per row ({len(rows)}), found shape {values.shape}")
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if row.finished:
            groups.setdefault(row.problem_key, []).append(index)
    for indices in groups.values():
        ranked = sorted(indices, key=lambda index: -values[index])
        yield ranked, values[ranked]
