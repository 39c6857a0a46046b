"""Step scores of a pool of solutions for the commands that choose among them: the file's own, or a model's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from erprm.cli.engine_options import check_model
from erprm.errors import InputError
from erprm.rows import StepRow, row_scores
from erprm.values import Array


def check_prm(prm: str | None, eta: float | None) -> None:
    """Raise InputError for a model that cannot score, or lacks the eta: before anything is sampled or trained."""
    if prm is None:
        if eta is not None:
            raise InputError(f"prm_eta: expected a --prm that learnt it, found {eta:g} and no model")
        return
    check_model(prm)
    from erprm.prm.checkpoints.forms import open_checkpoint

    open_checkpoint(prm, eta=eta)


def step_scores(rows: Sequence[StepRow], prm: str | None, eta: float | None = None) -> list[Array]:
    """The scores [L] of every row: of the model at `prm` (`eta`: which of several), else those that the rows have.

    A solution that the model can't read, or that holds the step tag, is worth 0 at every step; how many is printed.

    Raises:
        InputError: where there is no model, and a row has no scores.
    """
    if prm is None:
        return [np.asarray(row_scores(row), np.float64) for row in rows]
    from erprm.policy.reward import refusing_tags
    from erprm.prm.scoring.scorer import PRMScorer
    from erprm.selection.search import score_each

    found = score_each(refusing_tags(PRMScorer(prm, eta=eta)), [(row.prompt, row.steps) for row in rows])
    unread = [item for item in found if isinstance(item, InputError)]
    if unread:
        print(f"{len(unread):,} of {len(rows):,} solutions are worth 0, as the model can't read them; the first: "
              f"{unread[0]}")
    return [np.zeros(len(row.steps)) if isinstance(item, InputError) else np.asarray(item, np.float64)
            for row, item in zip(rows, found, strict=True)]
