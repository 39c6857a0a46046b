"""Decode under a process reward model: beam search, DVTS, guided sampling, or particles.

    erprm guide --problems gsm8k:test.jsonl --policy models/policy --prm runs/prm --method beam --out solutions.parquet
    erprm guide --problems problems.jsonl --policy models/policy --prm runs/prm --method dvts --trees 8 --out dvts.jsonl
    erprm guide --problems problems.jsonl --policy models/policy --prm runs/prm --method guided --eta 2 --out out.jsonl

beam keeps the --width best partial solutions and samples --expand next steps from each; dvts grows --trees independent
trees that keep one path each; guided samples --trees solutions from the policy tilted by exp(eta V), drawing each step
among --expand candidates; smc weighs and resamples --particles solutions by exp(eta (V_t - V_(t-1))).

The result has one row per solution, the best first, graded, with its step scores;
`erprm evaluate --scored` reads it.

A candidate that the model cannot read (a text beyond the model's length) is lost, and counted. Interrupted, the same
command goes on behind the last finished part of --part-problems problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from erprm.cli.config import option
from erprm.cli.engine_options import engine_of, sampling_of
from erprm.cli.grading_options import GradingConfig, extraction_of, pool_of
from erprm.cli.prompt_options import template_of
from erprm.cli.showing import ShowConfig, show_prompts, show_references, show_rows
from erprm.engines import Engine
from erprm.errors import InputError
from erprm.files.progress import progress
from erprm.files.writing import locked, remove_folder
from erprm.grading.graders import noted
from erprm.problems import Problem, load_problems
from erprm.rows import StepRow, write_rows
from erprm.selection.aggregate import AGGREGATIONS
from erprm.selection.search import Branch, Path, Scorer, SearchSettings
from erprm.steps import Steps, gaps_to_keep, join_steps
from erprm.values.scales import SCORES_ARE

if TYPE_CHECKING:
    from erprm.grading import GraderPool


@dataclass(frozen=True)
class Config(GradingConfig, ShowConfig):
    """Options of `erprm guide`."""

    problems: str = option(help="where the problems are, as for erprm sample")
    prm: str = option(help="the process reward model: a folder or a hub name")
    out: str = option(help="where the solutions go: .parquet or .jsonl")
    method: str = option("beam", help="how to search", choices=("beam", "dvts", "guided", "smc"))
    width: int = option(4, help="beam: partial solutions kept")
    expand: int = option(4, help="next steps sampled from each partial solution")
    trees: int = option(4, help="dvts and guided: independent trees, one solution each")
    particles: int = option(16, help="smc: particles, one solution each", least=1)
    max_steps: int = option(40, help="longest solution, in steps")
    aggregate: str = option("min", help="beam and dvts: step scores into one number", choices=AGGREGATIONS)
    eta: float = option(2.0, help="guided and smc: inverse temperature; 0 is the policy itself")
    scores_are: str = option("value", help="guided and smc: what the scores estimate, V_eta or the success rate",
                             choices=SCORES_ARE)
    limit: int | None = option(None, help="only the first so many problems")
    part_problems: int = option(256, help="problems searched together, and committed to disk, at a time")


def run(config: Config) -> int | None:
    """Search, grade and write."""
    from erprm.engines.identity import model_identity
    from erprm.prm.scoring.scorer import PRMScorer
    from erprm.rollouts.settings import store_settings
    from erprm.selection.files import search_in_parts

    if not config.out.endswith((".parquet", ".jsonl")):
        raise InputError(f"out: expected a .parquet or .jsonl file, found {config.out!r}")
    if config.part_problems < 1:
        raise InputError(f"part_problems: expected at least 1, found {config.part_problems}")
    settings = SearchSettings(width=config.width if config.method == "beam" else 1, expand=config.expand,
                              trees=1 if config.method == "beam" else config.trees, max_steps=config.max_steps,
                              how=config.aggregate, splitter=config.splitter, sampling=sampling_of(config),
                              seed=config.seed)
    template_of(config)
    problems = load_problems(config.problems, config.limit)
    show_prompts(config, ((problem.question, "") for problem in problems))
    if config.dry_run:
        show_references(config, problems)
        paths = config.particles if config.method == "smc" else settings.width * settings.trees
        print(f"guide: {len(problems):,} problems, {config.method}, {paths} solutions each, at most "
              f"{len(problems) * paths * settings.expand * settings.max_steps:,} step samples, into {config.out}")
        return None
    scorer = PRMScorer(config.prm, device=config.device)
    engine = engine_of(config)
    identity = store_settings("guide", engine.fingerprint(), settings.sampling, problems, config.seed, config.splitter,
                              extraction_of(config))
    identity |= {"prm": model_identity(config.prm)} | {name: str(getattr(config, name)) for name in (
        "method", "width", "expand", "trees", "max_steps", "aggregate", "eta", "scores_are")}
    if config.method == "smc":
        identity["particles"] = str(config.particles)
    lost: list[str] = []
    with locked(config.out), progress(config.method, total=len(problems), unit="problems") as bar, \
            pool_of(config) as grader:
        search = Search(config, settings, engine, scorer.score, grader, bar.advance, lost)
        rows = search_in_parts(problems, search, f"{config.out}.parts", identity, config.part_problems, bar.advance)
        if lost and not rows:
            raise InputError(f"{config.prm}: it can read none of the {len(lost):,} candidates; the first: {lost[0]}")
        written = write_rows(config.out, rows)
        remove_folder(f"{config.out}.parts")
    engine.close()
    first = {row.problem_id: row.outcome for row in reversed(rows)}
    share = sum(outcome or 0.0 for outcome in first.values()) / max(len(problems), 1)
    print(f"{written:,} solutions to {len(problems):,} problems; the first of each is right for {100 * share:.1f} %")
    if lost:
        print(f"{len(lost):,} candidates that the model cannot read were lost in this run; the first: {lost[0]}")
    if len(first) < len(problems):
        print(f"{len(problems) - len(first):,} problems have no solution; they count as wrong")
    show_rows(config, rows, config.splitter)
    print(f"solutions: {config.out}")
    return None


@dataclass(frozen=True)
class Search:
    """Problems to graded rows, the best first: what one part of the result holds. `lost` collects reasons."""

    config: Config
    settings: SearchSettings
    engine: Engine
    score: Scorer
    grader: GraderPool
    advance: Callable[[int], object]
    lost: list[str]

    def __call__(self, problems: Sequence[Problem]) -> list[StepRow]:
        from erprm.selection.beam import beam_search
        from erprm.selection.guided import guided_decode
        from erprm.selection.particles import particle_search

        def refused(branch: Branch, error: InputError) -> None:
            self.lost.append(f"{branch.question[:60]!r}: {error}")

        questions = [problem.question for problem in problems]
        if self.config.method == "guided":
            found = guided_decode(questions, self.engine, self.score, self.settings, self.config.eta,
                                  self.config.scores_are, self.advance, refused)
        elif self.config.method == "smc":
            clouds = particle_search(questions, self.engine, self.score, self.settings, self.config.eta,
                                     self.config.particles, self.config.scores_are, self.advance, refused)
            found = [cloud.ranked() for cloud in clouds]
        else:
            found = beam_search(questions, self.engine, self.score, self.settings, self.advance, refused)
        rows = list(_rows(problems, found))
        by_id = {problem.id: problem for problem in problems}
        verdicts = self.grader.verdicts((join_steps(row.steps, gaps=row.gaps), by_id[row.problem_id]) for row in rows)
        return [replace(row, outcome=float(verdict.right), answer=verdict.answer,
                        extra=noted(by_id[row.problem_id].grader))
                for row, verdict in zip(rows, verdicts, strict=True)]


def _rows(problems: Sequence[Problem], found: Sequence[Sequence[Path]]) -> Iterator[StepRow]:
    for problem, paths in zip(problems, found, strict=True):
        for rank, path in enumerate(paths):
            if path.steps:
                yield StepRow(problem.question, path.steps, finished=path.finished, problem_id=problem.id,
                              solution_id=f"{problem.id}/{rank}", gold=problem.answer,
                              gaps=gaps_to_keep(Steps(path.steps, path.gaps), path.finished),
                              scores=tuple(map(float, path.scores)))
