"""Say which step of each solution is the first wrong one: by a program, a file, or a language model.

    erprm judge --rows labels/rows.parquet --judge program --problems problems.jsonl --out verdicts.parquet
    erprm judge --rows rows.parquet --judge file --verdicts bench.jsonl --format processbench --out verdicts.parquet
    erprm judge --rows rows.parquet --judge llm --policy JUDGE --engine vllm --prompt chat --out verdicts.parquet

program: the step checker of the problem's own task, by exact search (countdown, graph_color, knights_knaves,
number_sorting). file: verdicts that others made, matched by question and steps, in any format that `erprm convert`
reads. llm: a language model by any engine (--policy is the judge), asked about the numbered steps; its answers are kept
in OUT.store, from which an interrupted run goes on.

--out receives the solutions with labels (1 before the first wrong step, 0 at it, none after): train on them with
`--target labels`, keep rows that agree with them with `erprm filter`. What could not be judged is counted, with
reasons.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from erprm.cli.config import option
from erprm.cli.engine_options import EngineConfig, engine_of, sampling_of
from erprm.cli.judge_options import read_prompt
from erprm.errors import InputError
from erprm.judging.prompt import PATTERN, JudgePrompt

if TYPE_CHECKING:
    from erprm.judging.judges import Judge
    from erprm.rows import StepRow


@dataclass(frozen=True)
class JudgeKind:
    """A judge by name: what it is, and the option without which it cannot judge."""

    help: str
    needs: str


JUDGES = {
    "program": JudgeKind("the task's own step checker, needs --problems", needs="problems"),
    "file": JudgeKind("labelled rows, needs --verdicts", needs="verdicts"),
    "llm": JudgeKind("a language model, needs --policy", needs="policy"),
}


@dataclass(frozen=True)
class Config(EngineConfig):
    """Options of `erprm judge`."""

    rows: str = option(help="solutions in steps: .jsonl or .parquet")
    out: str = option(help="where the verdicts go: .jsonl or .parquet", writes="rows")
    judge: str = option("program", help="who judges", choices=JUDGES)
    problems: str | None = option(None, help="the problems that the solutions solve")
    verdicts: str | None = option(None, help="file with verdicts")
    format: str = option("erprm", help="format of --verdicts, as `erprm convert` names it")
    policy: str = option("", help="the judging model: a folder or a hub name")
    temperature: float = option(0.0, help="of sampling; 0 takes the most likely token", least=0)
    max_tokens: int = option(1024, help="longest answer of the judge, in tokens", least=1)
    judge_prompt: str | None = option(None, help="file with the judge's question, with {question} and {steps}")
    verdict_pattern: str = option(PATTERN, help="regular expression whose group is the first wrong step's number, -1 "
                                                "for none; its last match counts")
    votes: int = option(1, help="answers to each question, of which most decide", least=1)
    malformed: float = option(0.2, help="largest share of answers that name no step", least=0, most=1)


def run(config: Config) -> None:
    """Judge and write; prints the report and where."""
    from erprm.files.writing import locked
    from erprm.judging.judges import judge_rows
    from erprm.rows import read_some, write_rows

    rows = read_some(config.rows)
    with locked(config.out):
        verdicts, report = judge_rows(rows, _judge(config, rows), config.judge)
        print(report)
        if not verdicts:
            raise InputError(f"{config.rows}: expected at least one solution that {config.judge} can judge, found none")
        print(f"wrote {write_rows(config.out, verdicts):,} verdicts to {config.out}")


def _judge(config: Config, rows: list[StepRow]) -> Judge:
    from erprm.formats import read
    from erprm.judging.judges import from_verdicts, program
    from erprm.problems import load_problems

    needed = JUDGES[config.judge].needs
    source = getattr(config, needed)
    if not source:
        raise InputError(f"--judge {config.judge}: expected --{needed}, found none")
    if config.judge == "program":
        return program(load_problems(source))
    if config.judge == "file":
        return from_verdicts(read(source, config.format))
    from erprm.judging.llm import ask

    prompt = JudgePrompt(pattern=config.verdict_pattern, votes=config.votes)
    if config.judge_prompt is not None:
        prompt = dataclasses.replace(prompt, text=read_prompt(config.judge_prompt))
    engine = engine_of(config)
    judge = ask(rows, engine, sampling_of(config), f"{config.out}.store", prompt, seed=config.seed,
                malformed=config.malformed, part=config.part_completions)
    engine.close()
    return judge
