"""Say which step of each solution is the first wrong one.

    erprm judge --rows labels/rows.parquet --judge program --problems problems.jsonl --out verdicts.parquet
    erprm judge --rows rows.parquet --judge file --verdicts bench.jsonl --format processbench --out verdicts.parquet

program: the step checker of the problem's own task, by exact search (countdown, graph_color, knights_knaves,
number_sorting). file: verdicts that others made, matched by question and steps, in any format that `erprm convert`
reads.
--out receives the solutions with labels (1 before the first wrong step, 0 at it, none after): train on them with
`--target labels`, keep rows that agree with them with `erprm filter`. What could not be judged is counted, with
reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from erprm.cli.config import option
from erprm.errors import InputError

if TYPE_CHECKING:
    from erprm.judging.judges import Judge

JUDGES = {"program": "the task's own step checker; needs --problems",
          "file": "labelled rows; needs --verdicts"}


@dataclass(frozen=True)
class Config:
    """Options of `erprm judge`."""

    rows: str = option(help="solutions in steps: .jsonl or .parquet")
    out: str = option(help="where the verdicts go: .jsonl or .parquet")
    judge: str = option("program", help="; ".join(f"{name}: {text}" for name, text in JUDGES.items()), choices=JUDGES)
    problems: str | None = option(None, help="the problems that the solutions solve")
    verdicts: str | None = option(None, help="file with verdicts")
    format: str = option("erprm", help="format of --verdicts, as `erprm convert` names it")


def run(config: Config) -> None:
    """Judge and write; prints the report and where."""
    from erprm.judging.judges import judge_rows
    from erprm.rows import read_rows, write_rows

    verdicts, report = judge_rows(read_rows(config.rows), _judge(config), config.judge)
    print(report)
    if not verdicts:
        raise InputError(f"{config.rows}: expected at least one solution that {config.judge} can judge, found none")
    print(f"wrote {write_rows(config.out, verdicts):,} verdicts to {config.out}")


def _judge(config: Config) -> Judge:
    from erprm.formats import read
    from erprm.judging.judges import from_verdicts, program
    from erprm.problems import load_problems

    needed = {"program": "problems", "file": "verdicts"}[config.judge]
    source = getattr(config, needed)
    if source is None:
        raise InputError(f"--judge {config.judge}: expected --{needed}, found none")
    return program(load_problems(source)) if needed == "problems" else from_verdicts(read(source, config.format))
