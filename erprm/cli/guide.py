"""Decode under a process reward model: beam search, DVTS, or guided sampling.

    erprm guide --problems gsm8k:test.jsonl --policy models/policy --prm runs/prm --method beam --out solutions.parquet
    erprm guide --problems problems.jsonl --policy models/policy --prm runs/prm --method dvts --trees 8 --out dvts.jsonl
    erprm guide --problems problems.jsonl --policy models/policy --prm runs/prm --method guided --eta 2 --out out.jsonl

beam keeps the --width best partial solutions and samples --expand next steps from each; dvts grows --trees independent
trees that keep one path each; guided samples --trees solutions from the policy tilted by exp(eta V), drawing each step
among --expand candidates. The result has one row per solution, the best first, graded, with its step scores in
`extra.scores`: `erprm evaluate --scored` reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from erprm.cli.config import option
from erprm.cli.engine_options import EngineConfig, engine_of, sampling_of, template_of
from erprm.errors import InputError
from erprm.problems import Problem, load_problems
from erprm.progress import progress
from erprm.rows import StepRow, write_rows
from erprm.selection.aggregate import AGGREGATIONS
from erprm.selection.guided import SCORES_ARE
from erprm.selection.search import Path, SearchSettings
from erprm.steps import join_steps


@dataclass(frozen=True)
class Config(EngineConfig):
    """Options of `erprm guide`."""

    problems: str = option(help="where the problems are, as for erprm sample")
    prm: str = option(help="the process reward model: a folder or a hub name")
    out: str = option(help="where the solutions go: .parquet or .jsonl")
    method: str = option("beam", help="how to search", choices=("beam", "dvts", "guided"))
    width: int = option(4, help="beam: partial solutions kept")
    expand: int = option(4, help="next steps sampled from each partial solution")
    trees: int = option(4, help="dvts and guided: independent trees, one solution each")
    max_steps: int = option(40, help="longest solution, in steps")
    aggregate: str = option("min", help="beam and dvts: step scores into one number", choices=AGGREGATIONS)
    eta: float = option(2.0, help="guided: inverse temperature; 0 is the policy itself")
    scores_are: str = option("value", help="guided: what the model's scores estimate, V_eta or the success rate",
                             choices=SCORES_ARE)
    limit: int | None = option(None, help="only the first so many problems")


def run(config: Config) -> int | None:
    """Search, grade and write."""
    from erprm.grading import GraderPool
    from erprm.prm.scorer import PRMScorer
    from erprm.selection.beam import beam_search
    from erprm.selection.guided import guided_decode

    if not config.out.endswith((".parquet", ".jsonl")):
        raise InputError(f"out: expected a .parquet or .jsonl file, found {config.out!r}")
    settings = SearchSettings(width=config.width if config.method == "beam" else 1, expand=config.expand,
                              trees=1 if config.method == "beam" else config.trees, max_steps=config.max_steps,
                              how=config.aggregate, splitter=config.splitter, sampling=sampling_of(config),
                              seed=config.seed)
    template_of(config)
    problems = load_problems(config.problems)[: config.limit]
    if config.dry_run:
        paths = settings.width * settings.trees
        print(f"guide: {len(problems):,} problems, {config.method}, {paths} solutions each, at most "
              f"{len(problems) * paths * settings.expand * settings.max_steps:,} step samples, into {config.out}")
        return None
    scorer = PRMScorer(config.prm, device=config.device)
    engine = engine_of(config)
    questions = [problem.question for problem in problems]
    with progress(config.method, total=len(problems), unit="problems") as bar:
        if config.method == "guided":
            found = guided_decode(questions, engine, scorer.score, settings, config.eta, config.scores_are, bar.advance)
        else:
            found = beam_search(questions, engine, scorer.score, settings, bar.advance)
    engine.close()
    rows = list(_rows(problems, found))
    with GraderPool(config.workers, config.grade_timeout) as grader:
        by_id = {problem.id: problem for problem in problems}
        verdicts = grader.verdicts((join_steps(row.steps, settings.splitter), by_id[row.problem_id]) for row in rows)
    graded = [replace(row, outcome=float(verdict.right), answer=verdict.answer)
              for row, verdict in zip(rows, verdicts, strict=True)]
    first = {row.problem_id: row.outcome for row in reversed(graded)}
    written = write_rows(config.out, graded)
    share = sum(outcome or 0.0 for outcome in first.values()) / max(len(problems), 1)
    print(f"{written:,} solutions to {len(problems):,} problems; the first of each is right for {100 * share:.1f} %")
    print(f"solutions: {config.out}")
    return None


def _rows(problems: Sequence[Problem], found: Sequence[Sequence[Path]]) -> Iterator[StepRow]:
    for problem, paths in zip(problems, found, strict=True):
        for rank, path in enumerate(paths):
            if path.steps:
                yield StepRow(problem.question, path.steps, finished=path.finished, problem_id=problem.id,
                              solution_id=f"{problem.id}/{rank}", gold=problem.answer,
                              extra={"scores": list(path.scores)})
