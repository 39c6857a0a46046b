"""Readers that bring public problem sets into `Problem`.

    load_problems("gsm8k:train.jsonl")                                     # question, answer after "####"
    load_problems("math:test.jsonl")                                       # problem, solution, answer
    load_problems("quiz.parquet?question=prompt&answer=key&grader=choice") # any table, columns by name
    load_problems("datasets:openai/gsm8k?name=main&split=test&question=question&answer=answer")
    load_problems("reasoning-gym:countdown?min_numbers=4&max_numbers=4&size=100&seed=1")
    load_problems("problems.jsonl")                                        # what `write_problems` wrote

A reader raises InputError, naming file and line, for what it cannot use; it drops nothing. Puzzles from reasoning-gym
are in `erprm.problems.puzzles`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from erprm.errors import InputError
from erprm.files.records import load_dataset, parse_query, read_records
from erprm.files.writing import atomic_write
from erprm.problems.problem import Problem
from erprm.problems.puzzles import generate

_RUNS_CODE = "run-python-graders"
COLUMNS = ("id", "question", "answer", "solution", "grader", "metadata")
_ANNOTATION = re.compile(r"<<[^<>]*>>")


def load_problems(source: str, limit: int | None = None) -> list[Problem]:
    """The problems of a source (see the module's examples); with `limit` only the first so many are read or made.

    Raises:
        InputError: for a missing file, a malformed line, an unknown column or option, a repeated id, an empty set.
        MissingExtraError: where the source's package is not installed.
    """
    name, _, query = source.partition("?")
    options = parse_query(query, source)
    kind, colon, rest = name.partition(":")
    if colon and kind in SOURCES:
        problems: Iterable[Problem] = SOURCES[kind].read(rest, options, limit)
    elif options and set(options) != {_RUNS_CODE}:
        problems = _from_records(read_records(name), name, _columns(options, source))
    else:
        problems = _own(name, runs_code=options.get(_RUNS_CODE) == "yes")
    return _checked(list(islice(problems, limit)), source)


def read_problems(path: str | Path) -> list[Problem]:
    """The problems that `write_problems` wrote. Raises InputError."""
    return _checked(list(_own(str(path))), str(path))


def write_problems(path: str | Path, problems: Iterable[Problem]) -> int:
    """Write problems as JSON lines, beside the target and then renamed; returns how many.

    Raises:
        InputError: for metadata that JSON cannot hold.
    """
    count = 0
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        for problem in problems:
            record = {name: getattr(problem, name) for name in COLUMNS}
            record = {name: dict(value) if name == "metadata" else value for name, value in record.items() if value}
            try:
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
            except TypeError as error:
                raise InputError(f"{path}: problem {problem.id}: metadata: {error}") from error
            count += 1
    return count


def _columns(options: Mapping[str, str], source: str) -> dict[str, str]:
    unknown = set(options) - set(COLUMNS)
    if unknown:
        raise InputError(f"{source}: unknown option {sorted(unknown)[0]!r}; known are {', '.join(COLUMNS)}")
    return {"question": "question", "answer": "answer", **options}


def _from_records(records: Iterable[tuple[int, Mapping[str, Any]]], source: str, columns: Mapping[str, str],
                  keep: Sequence[str] = ()) -> Iterator[Problem]:
    """Problems of a table. `columns` names the column of each field; `grader` is a grader's name, not a column."""
    for number, record in records:
        where = f"{source}:{number}"
        values: dict[str, Any] = {"id": f"{Path(source).stem}-{number}", "grader": columns.get("grader", "math")}
        for name, column in columns.items():
            if name == "grader":
                continue
            if record.get(column) is None and name in ("question", "answer"):
                raise InputError(f"{where}: expected a column {column!r} for the {name}, found "
                                 f"{', '.join(record) or 'nothing'}")
            if record.get(column) is not None:
                values[name] = record[column]
        values["metadata"] = {**_metadata(values, where), **{name: record[name] for name in keep if name in record}}
        yield _problem(values, where)


def _problem(values: Mapping[str, Any], where: str) -> Problem:
    texts = {name: value for name, value in values.items() if name != "metadata"}
    for name, value in texts.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise InputError(f"{where}: {name}: expected text or a number, found {type(value).__name__}")
        if not str(value).strip() and name != "solution":
            raise InputError(f"{where}: {name}: expected text, found nothing")
    return Problem(**{name: str(value) for name, value in texts.items()}, metadata=_metadata(values, where))


def _metadata(values: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    found = values.get("metadata") or {}
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: metadata: expected an object as JSON text, found {found[:40]!r}") from error
    if not isinstance(found, Mapping):
        raise InputError(f"{where}: metadata: expected an object, found {type(found).__name__}")
    return found


def _own(path: str, runs_code: bool = False) -> Iterator[Problem]:
    """Problems as `write_problems` writes them; those whose grader is a Python function only where the caller says that
    the file may run code."""
    for number, record in read_records(path):
        where = f"{path}:{number}"
        unknown = set(record) - set(COLUMNS)
        if unknown:
            raise InputError(f"{where}: unknown field {sorted(unknown)[0]!r}; known are {', '.join(COLUMNS)} (name the "
                             f"columns of another table: {path}?question=COLUMN&answer=COLUMN)")
        values = {name: value for name, value in record.items() if value is not None}
        for name in ("question", "answer"):
            if name not in values:
                raise InputError(f"{where}: expected a field {name!r}, found {', '.join(record) or 'nothing'}")
        if str(values.get("grader", "")).startswith("python:") and not runs_code:
            raise InputError(f"{where}: grader {values['grader']!r} runs Python code that the file names; say "
                             f"{path}?{_RUNS_CODE}=yes if you know the file")
        yield _problem({"id": f"{Path(path).stem}-{number}", **values}, where)


def _gsm8k(path: str, options: Mapping[str, str], limit: int | None) -> Iterator[Problem]:
    """GSM8K: the answer follows "####"; the calculator's notes (<<48/2=24>>) are left out unless `annotations=keep`."""
    if set(options) - {"annotations"} or options.get("annotations", "keep") not in ("keep", "strip"):
        raise InputError(f"gsm8k:{path}: expected the option annotations=keep or annotations=strip, found {options}")
    for number, record in read_records(path):
        where = f"{path}:{number}"
        question, text = record.get("question"), record.get("answer")
        if not isinstance(question, str) or not isinstance(text, str):
            raise InputError(f"{where}: expected texts 'question' and 'answer', found {', '.join(record) or 'nothing'}")
        _, mark, answer = text.rpartition("####")
        if not mark:
            raise InputError(f"{where}: answer: expected '#### N' at its end, found {text[-40:]!r}")
        solution = text if options.get("annotations") == "keep" else _ANNOTATION.sub("", text)
        yield _problem({"id": f"gsm8k-{Path(path).stem}-{number}", "question": question, "answer": answer.strip(),
                        "solution": solution}, where)


def _math(path: str, options: Mapping[str, str], limit: int | None) -> Iterator[Problem]:
    columns = _columns({"question": "problem", "solution": "solution", "id": "unique_id", **options}, f"math:{path}")
    return _from_records(read_records(path), path, columns, keep=("subject", "level"))


def _datasets(name: str, options: Mapping[str, str], limit: int | None) -> Iterator[Problem]:
    """A table that the `datasets` package loads: a hub name, or a folder that `save_to_disk` wrote."""
    columns = dict(options)
    split, subset = columns.pop("split", "test"), columns.pop("name", None)
    records = load_dataset(name, subset, split)
    yield from _from_records(enumerate(records, start=1), name, _columns(columns, f"datasets:{name}"))


@dataclass(frozen=True, slots=True)
class Source:
    """A public kind of problem set, named before the colon.

    Attributes:
        example: how it is asked for, as help shows it.
        help: one line.
        read: (what follows the colon, the options behind "?", the most that are wanted) -> problems.
        needs: the extra without which it cannot be read.
    """

    example: str
    help: str
    read: Callable[[str, Mapping[str, str], int | None], Iterable[Problem]]
    needs: str | None = None


SOURCES: dict[str, Source] = {
    "gsm8k": Source("gsm8k:FILE", "question, and an answer that ends with '#### N'", _gsm8k),
    "math": Source("math:FILE", "problem, solution and answer, as MATH has them", _math),
    "reasoning-gym": Source("reasoning-gym:TASK?option=value", "puzzles by its generators, judged by its verifiers",
                            generate, needs="reasoning-gym"),
    "datasets": Source("datasets:NAME?split=train", "a table of the datasets package, columns by name", _datasets),
}


def _checked(problems: list[Problem], source: str) -> list[Problem]:
    if not problems:
        raise InputError(f"{source}: expected at least one problem, found none")
    seen: set[str] = set()
    for problem in problems:
        if problem.id in seen:
            raise InputError(f"{source}: expected ids that differ, found {problem.id!r} twice")
        seen.add(problem.id)
    return problems
