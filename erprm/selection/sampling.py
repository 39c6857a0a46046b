"""Whole solutions, scored: what best-of-N and votes choose from.

    paths = sample_solutions(questions, engine, scorer.score, SearchSettings(), n=16)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from erprm.engines.base import Engine, Request, prefix_seed
from erprm.errors import InputError
from erprm.selection.search import Branch, Path, Refused, Scorer, SearchSettings, longer, ranked, scored_paths


def sample_solutions(questions: Sequence[str], engine: Engine, score: Scorer | None, settings: SearchSettings, n: int,
                     refused: Refused | None = None, first: int = 0) -> list[list[Path]]:
    """`n` solutions to every question, in the order of their seeds; empty ones and those that are refused are left out.

    Args:
        score: None for solutions without scores.
        settings: `splitter`, `sampling`, `max_steps` and `seed`; a solution may take max_tokens * max_steps tokens.
        first: the number of the first one: solution i is the same in whatever portions it is drawn.
    """
    if n < 1:
        raise InputError(f"n: expected at least 1, found {n}")
    sampling = replace(settings.sampling, max_tokens=settings.sampling.max_tokens * settings.max_steps)
    requests = [Request(question, "", n, prefix_seed(settings.seed, "solution", question) + first)
                for question in questions]
    written = [[longer(Path(), completion.text, "", settings, completion.finish_reason == "stop")
                for completion in of_question] for of_question in engine.sample(requests, sampling)]
    paths = [[path for path in of_question if path is not None and path.steps] for of_question in written]
    if score is None:
        return paths
    branches = [Branch(question, 0, Path()) for question in questions]
    return scored_paths(score, branches, paths, refused)


def best_of_n(questions: Sequence[str], engine: Engine, score: Scorer | None, settings: SearchSettings, n: int,
              advance: Callable[[int], object] | None = None, refused: Refused | None = None) -> list[list[Path]]:
    """`n` solutions to every question, the best score first, finished ones before unfinished ones."""
    found = sample_solutions(questions, engine, score, settings, n, refused)
    if advance is not None:
        advance(len(questions))
    return [ranked(paths, settings.aggregation) for paths in found]
