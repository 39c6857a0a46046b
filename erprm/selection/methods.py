"""The ways to spend samples and scores on a problem: one registry, which guide and search-bench read.

    options = MethodOptions(SearchSettings(), n=16, eta=2.0)
    found = METHODS["smc"].search(questions, engine, scorer.score, options)        # solutions, the best first

N means the same amount of sampling everywhere: N solutions, or N next steps of a problem at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from erprm.engines.base import Engine
from erprm.errors import InputError
from erprm.selection.adaptive import adaptive_best_of_n
from erprm.selection.beam import beam_search
from erprm.selection.guided import guided_decode
from erprm.selection.particles import particle_search
from erprm.selection.sampling import best_of_n
from erprm.selection.search import Path, Refused, Scorer, SearchSettings, ranked

Advance = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """What a method is run with.

    Attributes:
        settings: of the search; a method sets width, expand and trees from N where it has its own rule.
        n: solutions, or next steps of a problem at a time.
        eta, scores_are: of guided, smc and q-sharp.
        top_k: tokens that q-sharp weighs.
    """

    settings: SearchSettings
    n: int = 16
    eta: float = 2.0
    scores_are: str = "value"
    top_k: int = 8

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InputError(f"n: expected at least 1, found {self.n}")

    @property
    def stepwise(self) -> SearchSettings:
        """The settings, with at most N next steps from a partial solution."""
        return replace(self.settings, expand=min(self.settings.expand, self.n))

    @property
    def groups(self) -> int:
        """How many groups of `expand` next steps N makes."""
        return self.n // self.stepwise.expand


class Search(Protocol):
    """Questions to solutions of each, the best first."""

    def __call__(self, questions: Sequence[str], engine: Engine, score: Scorer, options: MethodOptions,
                 advance: Advance | None = None, refused: Refused | None = None) -> list[list[Path]]:
        """See the searches' own functions."""
        ...


@dataclass(frozen=True, slots=True)
class Method:
    """One way.

    Attributes:
        help: one line for --help.
        search: solutions of every question.
        votes: the answer is the most frequent one, no score is asked for.
    """

    help: str
    search: Search
    votes: bool = False


def _beam(questions: Sequence[str], engine: Engine, score: Scorer, options: MethodOptions,
          advance: Advance | None = None, refused: Refused | None = None) -> list[list[Path]]:
    settings = replace(options.stepwise, width=options.groups, trees=1)
    return beam_search(questions, engine, score, settings, advance, refused)


def _dvts(questions: Sequence[str], engine: Engine, score: Scorer, options: MethodOptions,
          advance: Advance | None = None, refused: Refused | None = None) -> list[list[Path]]:
    settings = replace(options.stepwise, width=1, trees=options.groups)
    return beam_search(questions, engine, score, settings, advance, refused)


def _guided(questions: Sequence[str], engine: Engine, score: Scorer, options: MethodOptions,
            advance: Advance | None = None, refused: Refused | None = None) -> list[list[Path]]:
    settings = replace(options.stepwise, trees=options.groups)
    found = guided_decode(questions, engine, score, settings, options.eta, options.scores_are, advance, refused)
    return [ranked(paths, settings.aggregation) for paths in found]


def _smc(questions: Sequence[str], engine: Engine, score: Scorer, options: MethodOptions,
         advance: Advance | None = None, refused: Refused | None = None) -> list[list[Path]]:
    clouds = particle_search(questions, engine, score, options.settings, options.eta, options.n, options.scores_are,
                             advance, refused)
    return [cloud.ranked() for cloud in clouds]


def _best_of_n(questions: Sequence[str], engine: Engine, score: Scorer, options: MethodOptions,
               advance: Advance | None = None, refused: Refused | None = None) -> list[list[Path]]:
    return best_of_n(questions, engine, score, options.settings, options.n, advance, refused)


def _majority(questions: Sequence[str], engine: Engine, score: Scorer | None, options: MethodOptions,
              advance: Advance | None = None, refused: Refused | None = None) -> list[list[Path]]:
    return best_of_n(questions, engine, None, options.settings, options.n, advance)


def _adaptive(questions: Sequence[str], engine: Engine, score: Scorer, options: MethodOptions,
              advance: Advance | None = None, refused: Refused | None = None) -> list[list[Path]]:
    return adaptive_best_of_n(questions, engine, score, options.settings, options.n, advance=advance, refused=refused)


def _q_sharp(questions: Sequence[str], engine: Any, score: Scorer, options: MethodOptions,
             advance: Advance | None = None, refused: Refused | None = None) -> list[list[Path]]:
    from erprm.selection.q_sharp import q_sharp_decode

    if not hasattr(engine, "ends"):
        raise InputError("q-sharp: expected the engine transformers, whose logits can be changed, found another")
    settings = replace(options.settings, trees=options.groups)
    found = q_sharp_decode(questions, engine, score, settings, options.eta, top_k=options.top_k,
                           scores_are=options.scores_are, advance=advance, refused=refused)
    return [ranked(paths, settings.aggregation) for paths in found]


METHODS = {
    "beam": Method("N / expand best partial solutions, each with expand next steps", _beam),
    "dvts": Method("N / expand independent trees that keep one path each", _dvts),
    "guided": Method("N / expand solutions, each step drawn by exp(eta V) among expand candidates", _guided),
    "smc": Method("N particles, weighed and resampled by exp(eta (V_t - V_(t-1)))", _smc),
    "best-of-n": Method("the best-scored of N whole solutions", _best_of_n),
    "adaptive": Method("best-of-N, expand at a time, until the leader's interval lies above the others'", _adaptive),
    "majority": Method("the most frequent answer of N whole solutions", _majority, votes=True),
    "q-sharp": Method("N / expand solutions, each token drawn by exp(eta V) among the likeliest", _q_sharp),
}
