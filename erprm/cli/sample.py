"""Sample solutions to problems from a policy, grade them, and split them into steps.

    erprm sample --problems gsm8k:train.jsonl --policy models/policy --n 16 --out solutions.parquet

The result has one row per solution: prompt, steps, outcome (1 right, 0 wrong), answer, gold, and finished (false: cut
off at --max-tokens). The raw texts are kept beside it, in OUT.store; after an interruption the same command goes on
from there, and a higher --n adds to it. --problems is a .jsonl or .parquet file with "id", "question", "answer", or
"""

from __future__ import annotations

from dataclasses import dataclass

from erprm.cli.config import option
from erprm.cli.engine_options import engine_of, sampling_of
from erprm.cli.grading_options import GradingConfig, pool_of
from erprm.cli.prompt_options import template_of
from erprm.cli.showing import ShowConfig, say_rate, show_prompts, show_references, show_rows, show_text
from erprm.engines import Request
from erprm.problems import SOURCES, load_problems
from erprm.rows import read_rows

__doc__ += "".join(f"\n  {source.example:33} {source.help}" for source in SOURCES.values())


@dataclass(frozen=True)
class Config(GradingConfig, ShowConfig):
    """Options of `erprm sample`."""

    problems: str = option(help="where the problems are (see above)")
    out: str = option(help="where the solutions go: .parquet or .jsonl", writes="rows")
    thinking: str = option("scored", help="what stands between <think> and </think>: split into steps like the rest, "
                                          "or no step at all", choices=("scored", "skipped"))
    n: int = option(1, help="solutions per problem", least=1)
    limit: int | None = option(None, least=1, help="only the first so many problems")


def run(config: Config) -> None:
    """Sample and write."""
    sampling = sampling_of(config)
    template_of(config)
    problems = load_problems(config.problems, config.limit)
    asked = [(problem.question, "") for problem in problems]
    show_prompts(config, asked)
    if config.dry_run:
        completions = len(problems) * config.n
        known = [len(problem.solution) for problem in problems if problem.solution]
        tokens = completions * (min(config.max_tokens, sum(known) / len(known) / 3) if known else config.max_tokens)
        print(f"sample: {len(problems):,} problems from {config.problems}, {config.n:,} solutions each: "
              f"{completions:,} solutions, about {tokens:,.0f} tokens"
              f"{'' if known else ' at most'}, into {config.out}")
        show_references(config, problems)
        rate = say_rate(config, tokens, [Request(question, "", config.n, number)
                                         for number, (question, _) in enumerate(asked)])
        if rate is not None and config.show:
            show_text(config, "what the policy began to write", rate.text)
        return
    from erprm.rollouts.sample import sample_solutions

    with pool_of(config, problems) as grader:
        engine = engine_of(config)
        report = sample_solutions(problems, engine, sampling, config.out, grader, n=config.n, seed=config.seed,
                                  splitter=config.splitter, skip_thinking=config.thinking == "skipped",
                                  part_completions=config.part_completions)
    engine.close()
    print(report)
    show_rows(config, read_rows(config.out), report.splitter)
    print(f"solutions: {report.rows}\nraw texts: {report.store}")
