"""What a scored pool teaches a policy: its best solutions (RAFT), or pairs of a better and a worse one (DPO).

    best_solutions(rows, scores)                       # one StepRow per problem
    preference_pairs(rows, scores, margin=0.2)         # [{"prompt", "chosen", "rejected"}], as TRL's DPOTrainer reads
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError
from erprm.rows import StepRow
from erprm.steps import join_steps


def best_solutions(rows: Sequence[StepRow], scores: npt.ArrayLike, minimum: float = 0.0) -> list[StepRow]:
    """The best-scored finished solution of each problem (RAFT, arXiv 2304.06767), in the problems' order.

    Args:
        rows: R solutions; those of a problem share `problem_key`.
        scores: [R], one number per solution, higher is better.
        minimum: a problem whose best solution scores less is left out.

    Raises:
        InputError: when the numbers of rows and scores differ.
    """
    return [rows[ranked[0]] for ranked, values in _ranked(rows, scores) if values[0] >= minimum]


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
            asked = template.text.replace("{question}", best.prompt)
            chosen, rejected = (join_steps(row.steps, splitter, gaps=row.gaps) for row in (best, worst))
            pairs.append({"prompt": asked, "chosen": chosen, "rejected": rejected} if template.kind == "plain" else
                         {"prompt": [*([_turn("system", template.system)] if template.system is not None else []),
                                     _turn("user", asked.rstrip("\n"))],
                          "chosen": [_turn("assistant", chosen)], "rejected": [_turn("assistant", rejected)]})
    return pairs


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
