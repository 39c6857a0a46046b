"""Step scores of a pool of solutions for the commands that choose among them: the file's own, or a model's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from erprm.files.progress import progress
from erprm.rows import StepRow, row_scores
from erprm.values import Array


def step_scores(rows: Sequence[StepRow], prm: str | None) -> list[Array]:
    """The scores [L] of every row: of the model at `prm`, else those that the rows have. Raises InputError."""
    if prm is None:
        return [np.asarray(row_scores(row), np.float64) for row in rows]
    from erprm.prm.scoring.scorer import PRMScorer

    with progress("scoring", len(rows), "solutions") as bar:
        return [np.asarray(scores, np.float64) for scores in PRMScorer(prm).score(rows, bar.advance)]
