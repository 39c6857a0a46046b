"""Options of the commands that grade texts, and the pool that they make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from erprm.cli.config import option
from erprm.cli.judge_options import JudgeOptions, judge_of
from erprm.errors import InputError
from erprm.grading import GraderPool
from erprm.grading.composite import Composite, CompositePool
from erprm.grading.extraction import Extraction
from erprm.grading.graders import grader_of
from erprm.options import LARGEST_WORKERS
from erprm.problems import Problem

STRICT, GRADED = REWARDS = ("strict", "graded")


@dataclass(frozen=True)
class GradingConfig(Extraction, JudgeOptions):
    """Where answers stand, and how much work may go into them."""

    reward: str = option("strict", choices=REWARDS, help="strict: a completion is right, 1, or wrong, 0; graded: the "
                         "grader's own score counts, a part of a puzzle for instance")
    grader: str | None = option(None, help="a reward composed of graders, as in 'accuracy*0.8+format*0.2': accuracy is "
                                           "the problem's own, docs/grading.md has the others (implies graded)")
    format_pattern: str | None = option(None, help="with --grader ...format...: the regular expression that a "
                                                   "completion has to match as a whole")
    length_limit: int | None = option(None, help="with --grader ...length...: characters from which the reward falls, "
                                                 "to 0 at twice as many", least=1)
    workers: int | None = option(None, help="grading processes (default: one per CPU)", least=1,
                                most=LARGEST_WORKERS)
    grade_timeout: float = option(10.0, help="seconds after which an answer counts as wrong", above=0,
                                  aliases=("timeout",))


def extraction_of(config: GradingConfig) -> Extraction:
    """How answers are found."""
    return Extraction(answer=config.answer, answer_pattern=config.answer_pattern)


def pool_of(config: GradingConfig, problems: Iterable[Problem] = ()) -> GraderPool:
    """The pool of graders, which has one for each of these problems. Raises InputError."""
    for kind in {problem.grader for problem in problems}:
        grader_of(kind)
    judge = judge_of(config, Composite.read(config.grader).parts if config.grader is not None else ())
    if config.grader is not None:
        return CompositePool(config.grader, config.format_pattern, config.length_limit, judge, workers=config.workers,
                             timeout=config.grade_timeout, extraction=extraction_of(config))
    for name in ("format_pattern", "length_limit"):
        if getattr(config, name) is not None:
            raise InputError(f"{name}: expected a --grader that uses it, found none")
    return GraderPool(config.workers, config.grade_timeout, extraction=extraction_of(config),
                      graded=config.reward == GRADED)
