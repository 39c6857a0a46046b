"""Beam search and diverse verifier tree search (DVTS) over steps, ranked by a process reward model.

    paths = beam_search(questions, engine, scorer.score, SearchSettings(width=4, expand=4))
    paths = beam_search(questions, engine, scorer.score, SearchSettings(trees=4, width=1, expand=4))    # DVTS
    "\\n".join(paths[0][0].steps)                                    # the best solution to the first question

Each round samples `expand` next steps from every open path, scores them, and keeps the `width` best of each tree; a
finished path keeps its place as long as it is among them. All questions advance together, so that engine and scorer see
full batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from erprm.engines.base import Engine
from erprm.selection.search import Branch, Path, Refused, Scorer, SearchSettings, extend, ranked


def beam_search(questions: Sequence[str], engine: Engine, score: Scorer, settings: SearchSettings,
                advance: Callable[[int], object] | None = None, refused: Refused | None = None) -> list[list[Path]]:
    """Search solutions to every question.

    Args:
        questions: as the policy reads them.
        score: (question, steps) pairs to step scores.
        advance: called with the number of questions that have just ended.
        refused: called for every candidate that the scorer cannot read, which is then lost (see `search.extend`).

    Returns:
        For each question the kept paths of all its trees, the best score first; finished ones before unfinished ones.
    """
    kept: dict[tuple[int, int], list[Path]] = {(index, tree): [Path()] for index in range(len(questions))
                                               for tree in range(settings.trees)}
    running = len(questions)
    while True:
        places = [(key, path) for key, paths in kept.items() for path in paths if path.open]
        still = len({index for (index, _), _ in places})
        if advance is not None and still < running:
            advance(running - still)
        running = still
        if not places:
            break
        branches = [Branch(questions[index], tree, path) for (index, tree), path in places]
        children = {key: [path for path in paths if not path.open] for key, paths in kept.items()}
        for (key, _), extended in zip(places, extend(engine, score, branches, settings, refused), strict=True):
            children[key] += extended
        kept = {key: _best(paths, settings) for key, paths in children.items()}
    return [ranked([path for tree in range(settings.trees) for path in kept[index, tree]], settings.aggregation)
            for index in range(len(questions))]


def _best(paths: Sequence[Path], settings: SearchSettings) -> list[Path]:
    """The `width` best distinct paths; earlier ones win ties, so that the result does not depend on anything else."""
    distinct = list(dict.fromkeys(paths))
    return sorted(distinct, key=lambda path: -path.value(settings.aggregation))[: settings.width]
