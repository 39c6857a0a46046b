"""What every search shares: partial solutions, one-step extensions from an engine, and their scores from a PRM.

A scorer is any callable from (question, steps) pairs to one array of step scores each; `PRMScorer.score` is one.
Extensions are sampled with the step separator as a stop string: a step that ends otherwise ends the solution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from erprm.engines.base import Completion, Engine, Request, Sampling, prefix_seed
from erprm.errors import InputError
from erprm.selection.aggregate import aggregate
from erprm.steps import prefix_text, separator

Text = tuple[str, Sequence[str]]
Scorer = Callable[[Sequence[Text]], Sequence[npt.NDArray[np.floating]]]


@dataclass(frozen=True, slots=True)
class Path:
    """A partial or finished solution.

    Attributes:
        steps: its step texts.
        scores: one per step, as scored at this length.
        finished: the policy ended it; False for one that ran out of tokens or steps.
        open: it can still be extended.
    """

    steps: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    finished: bool = False
    open: bool = True

    def value(self, how: str) -> float:
        """The aggregated score; the empty path has 0."""
        return float(aggregate(self.scores, how)) if self.scores else 0.0


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How a search expands.

    Attributes:
        width: paths kept at each step (of a tree).
        expand: one-step extensions sampled from each kept path.
        trees: independent trees; with width 1 this is diverse verifier tree search (DVTS).
        max_steps: longest solution.
        how: aggregation of step scores by which paths are ranked.
        splitter: how the policy's solutions separate steps.
        sampling: temperature, top-p, and most tokens of a step.
        seed: makes the search repeatable.
    """

    width: int = 4
    expand: int = 4
    trees: int = 1
    max_steps: int = 40
    how: str = "min"
    splitter: str = "newline"
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=256))
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "expand", "trees", "max_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, found {getattr(self, name)}")
        if self.splitter not in ("newline", "blank-line"):
            raise InputError(f"splitter: expected newline or blank-line for a search, found {self.splitter!r}")


@dataclass(frozen=True, slots=True)
class Branch:
    """A path of one question within one tree: what `extend` takes."""

    question: str
    tree: int
    path: Path


Refused = Callable[[Branch, InputError], object]


def extend(engine: Engine, score: Scorer, branches: Sequence[Branch], settings: SearchSettings,
           refused: Refused | None = None) -> list[list[Path]]:
    """Sample and score one-step extensions of every branch, in one batch for the engine and one for the scorer.

    Args:
        refused: called for every extension that the scorer cannot read (a step that holds the step tag, a text beyond
            the model's length), which is then lost; without it the scorer's error is raised.

    Returns:
        For each branch its extensions with their scores, in the order of their seeds, repetitions included. An empty
        extension closes the path as it stands; so does a branch of which every extension was lost.
    """
    gap = separator(settings.splitter)
    prefixes = [prefix_text(b.path.steps, len(b.path.steps), settings.splitter) for b in branches]
    seeds = [prefix_seed(settings.seed, str(b.tree), b.question, prefix)
             for b, prefix in zip(branches, prefixes, strict=True)]
    requests = [Request(b.question, prefix, settings.expand, seed)
                for b, prefix, seed in zip(branches, prefixes, seeds, strict=True)]
    written = engine.sample(requests, replace(settings.sampling, stop=(*settings.sampling.stop, gap)))
    extended = [[_append(branch.path, completion, gap, settings) for completion in completions]
                for branch, completions in zip(branches, written, strict=True)]
    texts = sorted({(branch.question, path.steps) for branch, paths in zip(branches, extended, strict=True)
                    for path in paths if path.steps})
    scores = dict(zip(texts, score(texts) if refused is None else score_each(score, texts), strict=True))
    result = []
    for branch, paths in zip(branches, extended, strict=True):
        kept = []
        for path in paths:
            found = scores[branch.question, path.steps] if path.steps else None
            if isinstance(found, InputError):
                assert refused is not None
                refused(branch, found)
            else:
                kept.append(path if found is None else _scored(path, found))
        result.append(kept or [replace(branch.path, open=False)])
    return result


def score_each(score: Scorer, texts: Sequence[Text]) -> list[npt.NDArray[np.floating] | InputError]:
    """The scores of each text, or why it has none: halves are tried apart until the text is found."""
    try:
        return list(score(texts)) if texts else []
    except InputError as error:
        if len(texts) == 1:
            return [error]
    halves = [score_each(score, half) for half in (texts[: len(texts) // 2], texts[len(texts) // 2:])]
    return halves[0] + halves[1]


def _scored(path: Path, scores: npt.NDArray[np.floating]) -> Path:
    if len(scores) != len(path.steps):
        raise InputError(f"score: expected one score per step ({len(path.steps)}), found {len(scores)}")
    return replace(path, scores=tuple(float(score) for score in scores))


def _append(path: Path, completion: Completion, gap: str, settings: SearchSettings) -> Path:
    step = completion.text.strip()
    steps = (*path.steps, step) if step else path.steps
    goes_on = bool(step) and completion.stopped_at == gap
    ended = completion.finish_reason == "stop" and not goes_on and bool(steps)
    return Path(steps, (), finished=ended, open=goes_on and len(steps) < settings.max_steps)
