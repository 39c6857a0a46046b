"""Decode under a process reward model: search by steps, particles, best-of-N, or token by token.

    erprm guide --problems gsm8k:test.jsonl --policy models/policy --prm runs/prm --method beam --out solutions.parquet
    erprm guide --problems problems.jsonl --policy models/policy --prm runs/prm --method dvts --trees 8 --out dvts.jsonl
    erprm guide --problems problems.jsonl --policy models/policy --prm runs/prm --method guided --eta 2 --out out.jsonl
    erprm guide --problems problems.jsonl --policy models/policy --prm runs/prm --method adaptive --out out.jsonl

beam keeps the --width best partial solutions and samples --expand next steps from each; dvts grows --trees independent
trees that keep one path each; guided samples --trees solutions from the policy tilted by exp(eta V), drawing each step
among --expand candidates; smc weighs and resamples --particles solutions by exp(eta (V_t - V_(t-1))); best-of-n scores
--candidates whole solutions; adaptive draws them --expand at a time until the leader's interval lies above the others';
majority puts their most frequent answer first and asks for no score; q-sharp samples --trees solutions token by token,
each among the --top-k likeliest tokens, tilted by exp(eta V) (engine transformers alone).

eta is the inverse temperature: 0 is the policy itself, and a large eta follows the scores alone. The Q# paper calls
1/eta by that letter.

The result has one row per solution, the best first, graded, with its step scores;
`erprm evaluate --scored` reads it.

A candidate that the model cannot read (a text beyond the model's length) is lost, and counted. Interrupted, the same
command goes on behind the last finished part of --part-problems problems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from erprm.cli.config import option
from erprm.cli.engine_options import check_model, check_policy, engine_of
from erprm.cli.grading_options import pool_of
from erprm.cli.prompt_options import template_of
from erprm.cli.search_options import IDENTIFYING, SearchConfig, method_options
from erprm.cli.showing import ShowConfig, show_prompts, show_references, show_rows
from erprm.engines import Engine
from erprm.errors import InputError
from erprm.files.progress import progress
from erprm.files.writing import locked, remove_folder
from erprm.problems import Problem, load_problems
from erprm.rows import StepRow, write_rows
from erprm.selection.meter import Meter
from erprm.selection.methods import METHODS, MethodOptions
from erprm.selection.search import Branch, Scorer
from erprm.steps import join_steps

if TYPE_CHECKING:
    from erprm.grading import GraderPool


@dataclass(frozen=True)
class Config(SearchConfig, ShowConfig):
    """Options of `erprm guide`."""

    out: str = option(help="where the solutions go: .parquet or .jsonl", writes="rows")
    method: str = option("beam", choices=METHODS, help="how to search")
    width: int = option(4, help="beam: partial solutions kept", least=1)
    trees: int = option(4, help="dvts, guided and q-sharp: independent trees, one solution each", least=1)
    particles: int = option(16, help="smc: particles, one solution each", least=1)
    candidates: int = option(16, help="best-of-n, majority and adaptive: solutions, at most", least=1)
    part_problems: int = option(256, help="problems searched together, and committed to disk, at a time",
                               least=1)


def run(config: Config) -> int | None:
    """Search, grade and write."""
    from erprm.engines.identity import model_identity
    from erprm.prm.scoring.prefixes import search_scorer
    from erprm.rollouts.settings import store_settings
    from erprm.selection.files import search_in_parts

    options = _options(config)
    template_of(config)
    problems = load_problems(config.problems, config.limit)
    show_prompts(config, ((problem.question, "") for problem in problems))
    if config.dry_run:
        show_references(config, problems)
        whole = config.method in ("best-of-n", "adaptive", "majority")
        print(f"guide: {len(problems):,} problems, {config.method}, at most {options.n} "
              + ("solutions" if whole else f"next steps at a time and {config.max_steps} steps")
              + f" each, into {config.out}")
        return None
    check_policy(template_of(config), config.policy)
    check_model(config.prm)
    engine = Meter(engine_of(config))
    scorer = search_scorer(config.prm, device=config.device, eta=config.prm_eta, memory_gib=config.memory_gib)
    lost: list[str] = []
    with locked(config.out), progress(config.method, total=len(problems), unit="problems") as bar, \
            pool_of(config, problems) as grader:
        identity = store_settings("guide", engine.fingerprint(), options.settings.sampling, problems, config.seed,
                                  config.splitter, grader.settings())
        identity |= {"prm": model_identity(config.prm), "n": str(options.n)}
        identity |= {name: str(getattr(config, name)) for name in ("method", *IDENTIFYING)}
        search = Search(config.method, options, engine, scorer.score, grader, bar.advance, lost)
        rows = search_in_parts(problems, search, f"{config.out}.parts", identity, config.part_problems, bar.advance)
        if lost and not rows:
            raise InputError(f"{config.prm}: it can read none of the {len(lost):,} candidates; the first: {lost[0]}")
        written = write_rows(config.out, rows)
        remove_folder(f"{config.out}.parts")
    engine.close()
    _summarise(config, options, rows, written, len(problems))
    if engine.samples:
        print(f"this run: {engine.tokens:,} tokens generated; scored: {scorer.report}{scorer.note}")
    if lost:
        print(f"{len(lost):,} candidates that the model cannot read were lost in this run; the first: {lost[0]}")
    show_rows(config, rows, config.splitter)
    print(f"solutions: {config.out}")
    return None


def _options(config: Config) -> MethodOptions:
    n = {"beam": config.width * config.expand, "smc": config.particles, "best-of-n": config.candidates,
         "adaptive": config.candidates, "majority": config.candidates}.get(config.method, config.trees * config.expand)
    return method_options(config, n, width=config.width, trees=config.trees)


def _summarise(config: Config, options: MethodOptions, rows: Sequence[StepRow], written: int, problems: int) -> None:
    first = {row.problem_id: row.outcome for row in reversed(rows)}
    share = sum(outcome or 0.0 for outcome in first.values()) / max(problems, 1)
    print(f"{written:,} solutions to {problems:,} problems; the first of each is right for {100 * share:.1f} %")
    if config.method == "adaptive" and rows:
        most = options.n * problems
        length = sum(len(join_steps(row.steps, gaps=row.gaps)) for row in rows) / written
        print(f"adaptive: {written:,} of {most:,} candidates were drawn; {1 - written / most:.1%} were saved, about "
              f"{(most - written) * length:,.0f} characters")
    if len(first) < problems:
        print(f"{problems - len(first):,} problems have no solution; they count as wrong")


@dataclass(frozen=True)
class Search:
    """Problems to graded rows, the best first: what one part of the result holds. `lost` collects reasons."""

    method: str
    options: MethodOptions
    engine: Engine
    score: Scorer
    grader: GraderPool
    advance: Callable[[int], object]
    lost: list[str]

    def __call__(self, problems: Sequence[Problem]) -> list[StepRow]:
        from erprm.selection.graded import graded_rows

        def refused(branch: Branch, error: InputError) -> None:
            self.lost.append(f"{branch.question[:60]!r}: {error}")

        found = METHODS[self.method].search([problem.question for problem in problems], self.engine, self.score,
                                            self.options, self.advance, refused)
        return graded_rows(problems, found, self.grader, METHODS[self.method].votes)
