"""Options of the commands that grade texts, and the pool that they make."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.cli.config import option
from erprm.grading import GraderPool
from erprm.grading.extraction import Extraction


@dataclass(frozen=True)
class GradingConfig(Extraction):
    """Where answers stand, and how much work may go into them."""

    workers: int | None = option(None, help="grading processes (default: one per CPU)")
    grade_timeout: float = option(10.0, help="seconds after which an answer counts as wrong", aliases=("timeout",))


def extraction_of(config: GradingConfig) -> Extraction:
    """How answers are found."""
    return Extraction(answer=config.answer, answer_pattern=config.answer_pattern)


def pool_of(config: GradingConfig) -> GraderPool:
    """The pool of graders. Raises InputError."""
    return GraderPool(config.workers, config.grade_timeout, extraction=extraction_of(config))
