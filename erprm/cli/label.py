"""Sample completions from every prefix of solutions, grade them, and count the right ones.

    erprm label --problems gsm8k:train.jsonl --solutions solutions.parquet --policy models/policy --n 16 --out labels

Without --solutions the problems' own reference solutions are labelled. A prefix that several solutions share is
sampled once, one at which a solution ended not at all. OUT (a folder, or any URL that fsspec opens) keeps every
completion; OUT/rows.parquet holds the solutions with "successes" and "trials" per step, for `erprm train`. After an
interruption the same command goes on; a higher --n adds to what is there; other settings are refused.

Instead of a fixed --n, ask for what you want to know, within --n-min trials and --n-max completions. Completions then
count at the longer prefixes that they pass through, too (--no-count-passing: only where they were sampled):

    --rmse 0.05        sample where it lowers the error of V_eta most per token, until the expected error over all
                       steps is 0.05; train with --estimator empirical-bayes (docs/rollouts.md: 34 % of the tokens)
    --width 0.2        stop a prefix when the interval of its soft value V_eta is narrower than 0.2
    --find first-error sample where it tells most about each solution's first wrong step, until that is known at
                       --confidence 0.9; never more than --n of each prefix; train with --target first-error
    --settled 0.5      stop a prefix when V_eta lies certainly above or certainly below 0.5
    --token-budget N   stop everything before more than N tokens are generated

--consensus VERDICTS (of `erprm judge`) also writes OUT/agreed.parquet: the rows on whose first wrong step the
completions and the judge agree, within --consensus-distance steps; the others are counted, with reasons.

--contrast 4 also writes OUT/contrast.parquet: of each prefix with both, up to 4 right and as many wrong completions as
training rows. docs/rollouts.md says what these may be used for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from erprm.cli.config import option
from erprm.cli.engine_options import engine_of, sampling_of
from erprm.cli.grading_options import GRADED, GradingConfig, pool_of
from erprm.cli.prompt_options import template_of
from erprm.cli.showing import ShowConfig, say_rate, show_prompts, show_rows
from erprm.engines import Request
from erprm.errors import InputError
from erprm.problems import Problem, load_problems
from erprm.rows import StepRow, read_some
from erprm.splitters import choose_splitter
from erprm.steps import AUTO, SPLITTERS, gaps_to_keep, join_steps, prefix_text, split_steps

if TYPE_CHECKING:
    from erprm.rollouts.run import Rule


@dataclass(frozen=True)
class Config(GradingConfig, ShowConfig):
    """Options of `erprm label`."""

    problems: str = option(help="where the problems are: a .jsonl or .parquet file, gsm8k:FILE, math:FILE, ...")
    solutions: str | None = option(None, help="solutions in steps, as `erprm sample` writes them (default: the "
                                              "problems' reference solutions)")
    out: str = option(help="the store: a folder or an fsspec URL", writes="folder")
    splitter: str = option(AUTO, help="how completions are cut, and the reference solutions; auto: as most solutions "
                                      "are (erprm sample --help says what there is)", choices=(*SPLITTERS, AUTO))
    n: int = option(16, help="completions per prefix", least=1)
    limit: int | None = option(None, least=1, help="only the first so many problems, and solutions to these")
    rmse: float | None = option(None, help="adaptive: enough when the expected error of V_eta is this small")
    width: float | None = option(None, help="adaptive: enough when the interval is narrower than this")
    settled: float | None = option(None, help="adaptive: enough when the interval lies on one side of this")
    find: str | None = option(None, help="adaptive: what to look for along each solution, by bisection",
                              choices=("first-error",))
    confidence: float = option(0.9, help="with --find: enough when its place has this probability", above=0, below=1)
    eta: float = option(2.0, help="adaptive: inverse temperature of V_eta")
    level: float = option(0.9, help="adaptive: level of the interval", above=0, below=1)
    n_min: int | None = option(None, least=0, help=(
        "adaptive: least trials per prefix (default: 2 with --rmse, or else 4); with --find of the step taken for the "
        "wrong one, default 3"))
    n_max: int | None = option(None, least=1, help=(
        "adaptive: most completions per prefix (default: 128 with --rmse, --n with --find, or else 64)"))
    n_step: int | None = option(None, least=1, help=(
        "adaptive: completions between two looks (default: 2 with --rmse, 1 with --find, or else 4)"))
    token_budget: int | None = option(None, help="most generated tokens, earlier runs of the store included")
    contrast: int = option(0, least=0, help="right and wrong completions per prefix to write as rows to "
                                          "OUT/contrast.parquet")
    consensus: str | None = option(None, help="verdicts of `erprm judge`: rows that agree with them about the first "
                                              "wrong step go to OUT/agreed.parquet, the others are counted")
    consensus_distance: int = option(0, least=0, help="most steps between the two first wrong steps")
    count_own_outcome: bool = option(False, help="count a solution's own outcome as a sample of its prefixes (right "
                                                 "when --policy wrote it)")
    count_passing: bool | None = option(None, help="count a completion also at the longer prefixes that it passes "
                                                   "through (default: with --rmse, --width, --settled or --find)")


def run(config: Config) -> None:
    """Label and write."""
    from erprm.rollouts.run import LabelOptions, label

    rule = _rule(config)
    keep = _consensus(config)
    sampling = sampling_of(config)
    template_of(config)
    problems = load_problems(config.problems, config.limit)
    rows, splitter = _solutions(config, problems)
    options = LabelOptions(config.n, rule, config.token_budget, config.seed, splitter, config.count_own_outcome,
                           config.count_passing, config.part_completions, config.contrast)
    source = config.solutions or config.problems
    questions = {problem.id: problem.question for problem in problems}
    asked = [(questions.get(row.problem_id, row.prompt), prefix_text(row.steps, 1, splitter, gaps=row.gaps))
             for row in rows[:max(config.show, 256)]]
    show_rows(config, rows, splitter)
    show_prompts(config, asked)
    if config.dry_run:
        from erprm.rollouts.estimate import estimate

        found = estimate(problems, rows, options, config.max_tokens, source)
        print(f"{found}, into {config.out}")
        say_rate(config, found.tokens, [Request(question, prefix, options.n, number)
                                        for number, (question, prefix) in enumerate(asked[:256])])
        return

    with pool_of(config, problems) as grader:
        engine = engine_of(config)
        report = label(problems, rows, engine, sampling, config.out, grader, options, source, keep)
    engine.close()
    print(report)
    if report.contrast is not None:
        print(f"completions as rows: {report.contrast_rows:,}, {report.contrast}")
    print(f"labels: {report.rows}")
    if report.agreed is not None:
        print(f"rows that agree: {report.agreed}")


def _consensus(config: Config) -> Callable[[list[StepRow]], list[StepRow]] | None:
    """What keeps the rows that agree with the verdicts, and prints what became of all. Raises InputError."""
    if config.consensus is None:
        if config.consensus_distance:
            raise InputError("consensus_distance: expected --consensus beside it, found none")
        return None
    if config.reward == GRADED or config.grader is not None:
        raise InputError("consensus: expected strict rewards, which say that no completion is right, found graded ones")
    from erprm.judging.consensus import agreeing
    from erprm.judging.judges import from_verdicts

    judge = from_verdicts(read_some(config.consensus))
    confidence = config.confidence if config.find is not None else None

    def keep(rows: list[StepRow]) -> list[StepRow]:
        kept, report = agreeing(rows, judge, config.consensus_distance, confidence)
        print(report)
        return kept

    return keep


def _rule(config: Config) -> Rule | None:
    """By which a prefix has enough; None: the same number for all. Raises InputError for two rules at once."""
    from erprm.rollouts.accuracy import Accurate
    from erprm.rollouts.allocation import Adaptive
    from erprm.rollouts.finding import FirstErrors

    bounds = {"n_min": config.n_min, "n_max": config.n_max, "step": config.n_step}
    given = {name: value for name, value in bounds.items() if value is not None}
    asked = [name for name in ("rmse", "find", "width", "settled") if getattr(config, name) is not None]
    if len(asked) > 1 and asked[0] in ("rmse", "find"):
        raise InputError(f"--{asked[0]}: expected no --{asked[1]} beside it, found one")
    if given and not asked:
        raise InputError(f"{next(iter(given))}: expected --rmse, --find, --width or --settled beside it, found none")
    if config.rmse is not None:
        return Accurate(config.eta, config.rmse, **given)
    if config.find is not None:
        return FirstErrors(config.confidence, **{"n_max": config.n, **given})
    return Adaptive(config.eta, config.level, config.width, config.settled, **given) if asked else None


def _solutions(config: Config, problems: list[Problem]) -> tuple[list[StepRow], str]:
    """(the solutions in steps, the splitter)."""
    if config.solutions is not None:
        rows = read_some(config.solutions)
        if config.limit is not None:
            ids, questions = {problem.id for problem in problems}, {problem.question for problem in problems}
            rows = [row for row in rows if row.problem_id in ids or row.prompt in questions]
        return rows, config.splitter if config.splitter != AUTO else _splitter_of(rows)
    lacking = next((problem.id for problem in problems if not (problem.solution or "").strip()), None)
    if lacking is not None:
        raise InputError(f"{config.problems}: problem {lacking}: expected a reference solution, found none; give "
                         "--solutions")
    texts = [problem.solution or "" for problem in problems]
    splitter = config.splitter if config.splitter != AUTO else choose_splitter(texts)[0]
    return [StepRow(prompt=problem.question, steps=tuple(steps), problem_id=problem.id,
                    solution_id=f"{problem.id}/reference", gold=problem.answer, gaps=gaps_to_keep(steps, finished=True))
            for problem, text in zip(problems, texts, strict=True) for steps in [split_steps(text, splitter)]], splitter


def _splitter_of(rows: Sequence[StepRow], look: int = 200) -> str:
    """The splitter that makes the steps of most rows, the first of equals."""
    texts = [(row, join_steps(row.steps, gaps=row.gaps)) for row in rows[:look]]
    found = {name: sum(split_steps(text, name) == list(row.steps) for row, text in texts) for name in SPLITTERS}
    return max(found, key=lambda name: found[name])
