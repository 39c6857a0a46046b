"""Rows of every format, problems, verdicts and scores, mutated: each is read, or left out and counted, or refused in
one line; nothing else.

    mutations(folder, random.Random(0), 1000)           # {"tried": 1000, "held": 1000, "failed": 0}
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import json
import random
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from erprm.errors import InputError
from erprm.evaluation.score_files import read_scores
from erprm.formats import FORMATS, Options, read, write
from erprm.judging.consensus import agreeing
from erprm.judging.judges import from_verdicts
from erprm.judging.verdicts import verdict_row
from erprm.problems import Problem, load_problems
from erprm.rows import StepRow, read_rows

_COUNTS = StepRow("Q? (5)", ("Step 1: a", "Step 2: b"), successes=(1, 0), trials=(2, 2), outcome=1.0, problem_id="p",
                  solution_id="p/0", answer="7", gold="7", scores=(0.25, 0.5), extra={"note": {"deep": [1, None]}})
_SIGNS = StepRow("Q? (5)", ("Step 1: a", "Step 2: b"), labels=(1.0, 0.0), outcome=0.0, gold="7", extra={"task": "t"})
_PROBLEM = Problem("p", "1+1?", "2", "1+1=2", "numeric", {"numbers": [1, 1], "target": 2})
_STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, -0.0, 10**30, 10**400, float("nan"), float("inf"), "", " ", "\0", "ки", "a ки\n",
    "\ud800", "+", "Step 1:", "x" * 2000, "\r", "[1]", "{", [], [[]], [None], {}, {"": 0}, {"text": 5}, [1, 2, 3],
    ["a"] * 3)
_TEXTS = ('{"a": ' * 3000 + "1" + "}" * 3000, '{"prompt": ' + "9" * 4400 + "}", "\ufeff{}", "[", "nul", "{'a': 1}", "")


def mutations(folder: Path, random: random.Random, count: int) -> Counter[str]:
    """Read `count` mutated records by every reader in turn, in files of ten where it goes on behind a bad one; failures
    are printed."""
    result: Counter[str] = Counter()
    options = Options(neutral="none", threshold=0.5)
    out = folder / "out.jsonl"
    kinds: dict[str, tuple[dict[str, Any], Callable[[Path], object]]] = {
        name: (_record(folder, name, options), partial(_hold, out=out, name=name, options=options)) for name in FORMATS}
    kinds |= {
        "problems": (dataclasses.asdict(_PROBLEM), lambda path: load_problems(str(path))),
        "a table of problems": ({**dataclasses.asdict(_PROBLEM), "level": 3},
                                lambda path: load_problems(f"{path}?metadata=metadata&id=id&solution=solution")),
        "GSM8K": ({"question": "1+1?", "answer": "1+1=<<1+1=2>>2\n#### 2"},
                  lambda path: load_problems(f"gsm8k:{path}")),
        "MATH": ({"problem": "1+1?", "solution": "2", "answer": "2", "unique_id": "a", "subject": "s", "level": 1},
                 lambda path: load_problems(f"math:{path}")),
        "verdicts": (verdict_row(_COUNTS, 1).to_dict(),
                     lambda path: agreeing([_COUNTS], from_verdicts(read_rows(path)))),
        "scores": ({"id": "p/0", "scores": [0.5, 0.25]}, lambda path: read_scores(path, [_COUNTS], "benchmark")),
        "Parquet": (_COUNTS.to_dict(), _hold_parquet),
    }
    path, turns = folder / "mutated.jsonl", itertools.cycle(kinds.items())
    while left := count - result["tried"]:
        name, (record, hold) = next(turns)
        lines = [_mutated(record, random) for _ in range(min(10 if name in FORMATS else 1, left))]
        path.write_bytes(b"\n".join(lines))
        result["tried"] += len(lines)
        try:
            with contextlib.suppress(InputError):
                hold(path)
        except Exception:  # noqa: BLE001 - whatever it is, it is a fault that is counted and shown
            result["failed"] += len(lines)
            print(name, lines[:3], traceback.format_exc(limit=-3))
        else:
            result["held"] += len(lines)
    return result


def _record(folder: Path, name: str, options: Options) -> dict[str, Any]:
    path = folder / f"{name}.jsonl"
    write(path, name, [_COUNTS if name in ("erprm", "search-and-learn") else _SIGNS], options=options)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _hold(path: Path, out: Path, name: str, options: Options) -> None:
    reader = read(path, name, options=options)
    rows = list(reader)
    assert reader.report.rows == len(rows)
    assert len(str(reader.report)) < 20_000
    for target in FORMATS:
        with contextlib.suppress(InputError):  # where the format can hold none of them
            write(out, target, rows, strict=False, options=options)
    with contextlib.suppress(InputError):
        list(read_rows(path))


def _hold_parquet(path: Path) -> None:
    """A mutated record as a Parquet file, of whatever types its columns are then."""
    try:
        pq.write_table(pa.Table.from_pylist([json.loads(path.read_bytes())]), path.with_suffix(".parquet"))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, pa.ArrowException):
        return  # no Parquet file could hold it
    list(read_rows(path.with_suffix(".parquet")))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything within."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from _places(inner)


def _strange(random: random.Random) -> Any:
    return copy.deepcopy(random.choice(_STRANGE))


def _mutated(record: dict[str, Any], random: random.Random) -> bytes:
    kind = random.random()
    if kind < 0.05:
        return random.choice(_TEXTS).encode()
    record = json.loads(json.dumps(record))
    for _ in range(random.randint(1, 3)):
        container, key = random.choice(list(_places(record)) or [(record, "x")])
        change = random.random()
        if change < 0.6:
            container[key] = _strange(random)
        elif change < 0.8 and isinstance(container, dict):
            name = random.choice(["extra", "label", "labels", "scores", "text", "id", "\udfff"])
            container[name] = _strange(random)
        elif isinstance(container, list):
            container.append(_strange(random))
        else:
            container.pop(key, None)
    line = bytearray(json.dumps(record, ensure_ascii=random.random() < 0.9).encode("utf-8", "surrogatepass"))
    if kind < 0.2 and line:
        line[random.randrange(len(line))] ^= 1 << random.randrange(8)
    return bytes(line).replace(b"\n", b" ")
