"""List the answers on which two graders disagree: what to look at before trusting either.

  erprm audit --input solutions.parquet --graders math numeric --out disagreements.jsonl
  erprm audit --input rows.jsonl --graders math python:mygrader:check --problems gsm8k:test.jsonl

The input is a JSONL or Parquet file of solutions with their reference answers. Rows of this project (`steps` and
`gold`) are read as they are; for any other table name the columns:

  erprm audit --input completions.parquet --text-field completion --gold-field answer --graders math exact

Where the table has no reference answers, --problems gives them, matched by the exact id in the column --id-field.
A disagreement is listed once per distinct (answer, reference), the most frequent first, with both verdicts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from erprm.cli.config import option
from erprm.cli.grading_options import GradingConfig, pool_of
from erprm.errors import InputError
from erprm.files.progress import progress
from erprm.files.records import count_records, read_records
from erprm.files.writing import atomic_write, locked
from erprm.grading import Verdict
from erprm.grading.answered import Answered
from erprm.grading.graders import grader_of
from erprm.problems import Problem, load_problems
from erprm.terminal import printable

BATCH = 4096


@dataclass(frozen=True)
class Config(GradingConfig):
    """Options of `erprm audit`."""

    input: str = option(help="solutions or completions: .jsonl or .parquet")
    graders: tuple[str, ...] = option(("math", "numeric"), help="two graders: math, numeric, exact, choice, "
                                                                "reasoning-gym:TASK or python:MODULE:FUNCTION")
    out: str = option("disagreements.jsonl", help="where the disagreements go", aliases=("output",), writes="file")
    text_field: str | None = option(None, help="column of the completion's text; rows of steps need none")
    gold_field: str = option("gold", help="column of the reference answer")
    problems: str | None = option(None, help="problem set with the reference answers, as `erprm sample` takes it")
    id_field: str = option("problem_id", help="column of the problem's id, for --problems")
    show: int = option(20, help="disagreements to print", least=0)


def run(config: Config) -> None:
    """Grade everything twice; print the disagreements and where they all are."""
    if len(config.graders) != 2 or config.graders[0] == config.graders[1]:
        raise InputError(f"graders: expected two different ones, found {' '.join(config.graders)}")
    for kind in config.graders:
        grader_of(kind)
    with locked(config.out):
        _audit(config, list(config.graders))


def _audit(config: Config, kinds: list[str]) -> None:
    known = {problem.id: problem for problem in load_problems(config.problems)} if config.problems else None
    found: Counter[tuple[str, str]] = Counter()
    details: dict[tuple[str, str], tuple[Verdict, Verdict, str]] = {}
    answered = {kind: Answered("texts") for kind in kinds}
    total = 0
    with pool_of(config) as pool, \
            progress("grading", total=count_records(config.input), unit="answers") as bar:
        for batch in _batches(_completions(config, known)):
            first, second = (pool.verdicts([(text, replace(problem, grader=kind)) for text, problem in batch])
                             for kind in kinds)
            for (text, problem), left, right in zip(batch, first, second, strict=True):
                for kind, verdict in zip(kinds, (left, right), strict=True):
                    answered[kind].add(text, verdict.answer)
                if left.right != right.right:
                    key = (left.answer or right.answer or "", problem.answer)
                    found[key] += 1
                    details.setdefault(key, (left, right, text))
            total += len(batch)
            bar.advance(len(batch))
    if not total:
        raise InputError(f"{config.input}: expected at least one solution, found none")
    with atomic_write(config.out) as temporary, temporary.open("w", encoding="utf-8") as out:
        for (answer, gold), count in found.most_common():
            left, right, text = details[answer, gold]
            record = {"answer": answer, "gold": gold, "count": count, kinds[0]: _shown(left), kinds[1]: _shown(right),
                      "text": text}
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
    _print_table(config, kinds, found, details)
    print(f"{sum(found.values()):,} of {total:,} answers ({len(found):,} distinct) are graded differently; "
          f"verdicts: {pool.report}")
    for said in dict.fromkeys(map(str, answered.values())):
        print(f"{' and '.join(kind for kind in kinds if str(answered[kind]) == said)}: {said}")
    print(config.out)


def _completions(config: Config, known: Mapping[str, Problem] | None) -> Iterator[tuple[str, Problem]]:
    for number, record in read_records(config.input):
        where = f"{config.input}:{number}"
        text = _text(config, record, where)
        if known is not None:
            name = str(record.get(config.id_field))
            if name not in known:
                raise InputError(f"{where}: {config.id_field}: expected the id of a problem of {config.problems}, "
                                 f"found {name!r}")
            yield text, known[name]
            continue
        gold = record.get(config.gold_field)
        if gold is None or not str(gold).strip():
            raise InputError(f"{where}: expected a reference answer in {config.gold_field!r} (or --problems), found "
                             f"{', '.join(record)}")
        yield text, Problem(id=str(record.get(config.id_field, "")), question=str(record.get("prompt", "")),
                            answer=str(gold))


def _text(config: Config, record: Mapping[str, Any], where: str) -> str:
    value = record.get(config.text_field) if config.text_field else record.get("steps")
    if config.text_field and isinstance(value, str):
        return value
    if not config.text_field and isinstance(value, (list, tuple)) and all(isinstance(step, str) for step in value):
        return "\n".join(value)
    raise InputError(f"{where}: expected {config.text_field or 'steps (or --text-field)'}, found {', '.join(record)}")


def _batches(completions: Iterator[tuple[str, Problem]]) -> Iterator[list[tuple[str, Problem]]]:
    batch: list[tuple[str, Problem]] = []
    for completion in completions:
        batch.append(completion)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _shown(verdict: Verdict) -> str:
    return "right" if verdict.right else f"wrong ({printable(verdict.reason)})" if verdict.reason else "wrong"


def _print_table(config: Config, kinds: list[str], found: Counter[tuple[str, str]],
                 details: Mapping[tuple[str, str], tuple[Verdict, Verdict, str]]) -> None:
    if not found:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("count", "answer", "reference", *kinds)
    for (answer, gold), count in found.most_common(config.show):
        left, right, _ = details[answer, gold]
        shown = Text(printable(answer[-60:])), Text(printable(gold[:60]))
        table.add_row(str(count), *shown, Text(_shown(left)), Text(_shown(right)))
    Console().print(table)
