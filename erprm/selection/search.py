"""What every search shares: partial solutions, one-step extensions from an engine, and their scores from a PRM.

A scorer is any callable from (question, steps) pairs to one array each of step scores [L], or [L, 3] with the ends of
their intervals; `PRMScorer.score` is one.
Extensions are sampled with what ends a step (`Splitter.stops`) as stop strings: a step that ends otherwise ends the
solution. Where there is no whole step yet (a blank line between two steps, or within a formula) it goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from erprm.engines.base import Completion, Engine, Request, Sampling, prefix_seed
from erprm.errors import InputError
from erprm.selection.aggregate import aggregate
from erprm.splitters import SPLITTERS, block_is_open
from erprm.steps import join_steps, split_steps

Text = tuple[str, Sequence[str]]
Scorer = Callable[[Sequence[Text]], Sequence[npt.NDArray[np.floating]]]


@dataclass(frozen=True, slots=True)
class Path:
    """A partial or finished solution.

    Attributes:
        steps: its step texts.
        gaps: one text more than steps, around them: gaps[0] + steps[0] + gaps[1] + ... is what the policy wrote.
        begun: what it has written of the next step, where a step's beginning is what ends the one before.
        scores: one per step, as scored at this length; low, high: the ends of their intervals, where they have one.
        finished: the policy ended it; False for one that ran out of tokens or steps.
        open: it can still be extended.
    """

    steps: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    finished: bool = False
    open: bool = True
    gaps: tuple[str, ...] = ("",)
    begun: str = ""
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        """The solution as the policy wrote it, what it goes on from."""
        return join_steps(self.steps, gaps=self.gaps) + self.begun

    def value(self, aggregation: str) -> float:
        """The aggregated score; the empty path has 0."""
        return float(aggregate(self.scores, aggregation)) if self.scores else 0.0


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How a search expands.

    Attributes:
        width: paths kept at each step (of a tree).
        expand: one-step extensions sampled from each kept path.
        trees: independent trees; with width 1 this is diverse verifier tree search (DVTS).
        max_steps: longest solution.
        aggregation: of step scores by which paths are ranked.
        splitter: how the policy's solutions separate steps; one of `SPLITTERS` that has `stops`.
        sampling: temperature, top-p, and most tokens of a step.
        seed: makes the search repeatable.
    """

    width: int = 4
    expand: int = 4
    trees: int = 1
    max_steps: int = 40
    aggregation: str = "min"
    splitter: str = "newline"
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=256))
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "expand", "trees", "max_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, found {getattr(self, name)}")
        usable = [name for name, splitter in SPLITTERS.items() if splitter.stops]
        if self.splitter not in usable:
            raise InputError(f"splitter: expected one of {', '.join(usable)} for a search, found {self.splitter!r}")


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
        refused: called for every extension that the scorer cannot read (a text beyond the model's length), which is
            then lost; without it the scorer's error is raised.

    Returns:
        For each branch its extensions with their scores, in the order of their seeds, repetitions included. An empty
        extension closes the path as it stands; so does a branch of which every extension was lost.
    """
    extended = scored_paths(score, branches, _write(engine, branches, settings), refused)
    return [paths or [replace(branch.path, open=False)] for branch, paths in zip(branches, extended, strict=True)]


def scored_paths(score: Scorer, branches: Sequence[Branch], paths: Sequence[Sequence[Path]],
                 refused: Refused | None = None) -> list[list[Path]]:
    """The paths of each branch with their scores, in one batch; without those that the scorer cannot read."""
    texts = sorted({(branch.question, path.steps) for branch, of_branch in zip(branches, paths, strict=True)
                    for path in of_branch if path.steps})
    scores = dict(zip(texts, score(texts) if refused is None else score_each(score, texts), strict=True))
    result = []
    for branch, of_branch in zip(branches, paths, strict=True):
        kept = []
        for path in of_branch:
            found = scores[branch.question, path.steps] if path.steps else None
            if isinstance(found, InputError):
                assert refused is not None
                refused(branch, found)
            else:
                kept.append(path if found is None else _scored(path, found))
        result.append(kept)
    return result


def ranked(paths: Sequence[Path], aggregation: str) -> list[Path]:
    """The best aggregated score first; finished paths before unfinished ones."""
    return sorted(paths, key=lambda path: (not path.finished, -path.value(aggregation)))


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
    """The path with scores [L], or [L, 3] with the ends of their intervals."""
    if len(scores) != len(path.steps):
        raise InputError(f"score: expected one score per step ({len(path.steps)}), found {len(scores)}")
    columns = [tuple(map(float, column)) for column in np.asarray(scores).reshape(len(scores), -1).T]
    if len(columns) not in (1, 3):
        raise InputError(f"score: expected one score per step, or one with its interval, found {len(columns)} numbers; "
                         "choose one eta of the model")
    return replace(path, scores=columns[0]) if len(columns) == 1 else \
        replace(path, scores=columns[0], low=columns[1], high=columns[2])


@dataclass(slots=True)
class _Candidate:
    """An extension in the making: `text` is what was written behind the path."""

    branch: Branch
    seed: int
    text: str = ""
    tokens: int = 0

    def take(self, completion: Completion, settings: SearchSettings) -> Path | None:
        """The extended path; None while there is no whole step and the policy goes on."""
        stops = SPLITTERS[settings.splitter].stops
        stop = completion.stopped_at if completion.stopped_at in stops else None
        self.text += completion.text + (stop or "")
        self.tokens += max(1, completion.tokens)
        path = self.branch.path
        if stop is None:
            return longer(path, self.text, "", settings, finished=completion.finish_reason == "stop")
        begun = stop.lstrip()  # "\n## Step" begins the next one
        extended = longer(path, self.text[: len(self.text) - len(begun)], begun, settings)
        if extended is not None:
            return extended
        if self.tokens < settings.sampling.max_tokens:
            return None
        return longer(path, self.text, "", settings, finished=False)


def _write(engine: Engine, branches: Sequence[Branch], settings: SearchSettings) -> list[list[Path]]:
    """For each branch `expand` paths that are one step longer, not scored yet."""
    stops = SPLITTERS[settings.splitter].stops
    sampling = replace(settings.sampling, stop=(*settings.sampling.stop, *stops))
    prefixes = [branch.path.text for branch in branches]
    seeds = [prefix_seed(settings.seed, str(branch.tree), branch.question, prefix)
             for branch, prefix in zip(branches, prefixes, strict=True)]
    written = engine.sample([Request(branch.question, prefix, settings.expand, seed)
                             for branch, prefix, seed in zip(branches, prefixes, seeds, strict=True)], sampling)
    candidates = [[_Candidate(branch, seed + number) for number in range(settings.expand)]
                  for branch, seed in zip(branches, seeds, strict=True)]
    flat = [candidate for of_branch in candidates for candidate in of_branch]
    done: dict[int, Path] = {}
    waiting = list(range(len(flat)))
    completions = [completion for of_branch in written for completion in of_branch]
    while True:
        for place, completion in zip(waiting, completions, strict=True):
            extended = flat[place].take(completion, settings)
            if extended is not None:
                done[place] = extended
        waiting = [place for place in waiting if place not in done]
        if not waiting:
            break
        requests = []
        for place in waiting:
            branch, prefix = flat[place].branch, flat[place].branch.path.text + flat[place].text
            requests.append(Request(branch.question, prefix, 1, prefix_seed(flat[place].seed, branch.question, prefix)))
        completions = [only for [only] in engine.sample(requests, sampling)]
    ordered = iter(done[place] for place in range(len(flat)))
    return [[next(ordered) for _ in of_branch] for of_branch in candidates]


def longer(path: Path, text: str, begun: str, settings: SearchSettings, finished: bool | None = None) -> Path | None:
    """`path` with the steps of `text` behind it; None when there is none, or the last one is not whole.

    Args:
        begun: what was written of the step behind them.
        finished: nothing follows, and whether the policy ended it itself.
    """
    text = path.begun + text
    written = split_steps(text, settings.splitter)
    steps = tuple(written) if any(written) else ()
    if finished is None and (not steps or (SPLITTERS[settings.splitter].keeps_blocks and block_is_open(text))):
        return None
    gaps = (*path.gaps[:-1], path.gaps[-1] + written.gaps[0], *(written.gaps[1:] if steps else ()))
    extended = Path((*path.steps, *steps), gaps=gaps, begun=begun)
    if finished is None:
        return replace(extended, open=len(extended.steps) < settings.max_steps)
    return replace(extended, finished=finished and bool(extended.steps), open=False)
