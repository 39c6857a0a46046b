"""`StepRow`: one solution in steps with what is known about each step; the type that every stage exchanges.

On disk a row is one JSON line or one Parquet record with the same field names:

    {"prompt": "2+3*4?", "steps": ["3*4=12", "2+12=14"], "successes": [14, 1], "trials": [16, 1], "outcome": 1.0}

Files of earlier versions, which have step scores in `extra`, are read into `scores`.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, BinaryIO

from erprm.errors import InputError
from erprm.files.records import read_records
from erprm.files.writing import atomic_write


@dataclass(frozen=True, slots=True)
class StepRow:
    """A solution a = a^1..a^L to a problem x, cut into steps.

    Attributes:
        prompt: the problem, as the policy sees it.
        steps: L step texts without their separators; at least one.
        labels: L targets in [0, 1]; None where a step has no label. None altogether when targets come from counts.
        successes: L counts k of completions from the prefix that ends with this step and reached the right answer.
        trials: L counts n of completions sampled from that prefix.
        rewards: L lists of rewards in [0, 1], one reward for each completion sampled from that prefix, where these were
            not all 0 or 1; empty where a step has none, or has counts instead. None altogether without any.
        outcome: r(a, x) of the whole solution, in [0, 1]; None when it was not graded.
        finished: the solution ended by itself, so the value of its last step is `outcome`, known without sampling.
        answer: the extracted final answer, for voting.
        gold: the reference answer.
        scores: L step scores of a reward model; kept as float32 in Parquet.
        score_columns: further ones by name, L each: "scores_eta_0.5", ... of a model with several etas (`scores` is
            then None), or "score_low" and "score_high", the ends of the score's interval. Each is a column on disk.
        extra: what else is known, for JSON.
        weight: how often the training of a reward model counts the row, from 0 (left out) up; None for once.
        gaps: L + 1 texts around the steps, such that the solution as it was written is gaps[0] + steps[0] + gaps[1] +
            ... + gaps[L]; None where a separator joins the steps (`erprm.steps`).
    """

    prompt: str
    steps: tuple[str, ...]
    labels: tuple[float | None, ...] | None = None
    successes: tuple[int, ...] | None = None
    trials: tuple[int, ...] | None = None
    outcome: float | None = None
    finished: bool = True
    problem_id: str = ""
    solution_id: str = ""
    answer: str | None = None
    gold: str | None = None
    scores: tuple[float, ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    gaps: tuple[str, ...] | None = None
    rewards: tuple[tuple[float, ...], ...] | None = None
    score_columns: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    weight: float | None = None

    def __post_init__(self) -> None:
        length = len(self.steps)
        if length == 0:
            raise InputError("steps: expected at least one step, found none")
        for name in ("labels", "successes", "trials", "scores", "rewards"):
            values = getattr(self, name)
            if values is not None and len(values) != length:
                raise InputError(f"{name}: expected one value per step ({length}), found {len(values)}")
        if self.gaps is not None and len(self.gaps) != length + 1:
            raise InputError(f"gaps: expected one text more than steps ({length + 1}), found {len(self.gaps)}")
        for label in self.labels or ():
            if label is not None and not 0.0 <= label <= 1.0:
                raise InputError(f"labels: expected values in [0, 1] or null, found {_shown(label)}")
        if self.outcome is not None and not 0.0 <= self.outcome <= 1.0:
            raise InputError(f"outcome: expected a value in [0, 1] or null, found {_shown(self.outcome)}")
        if self.weight is not None and self.weight != 0.0 and not _FLOAT32_LEAST <= self.weight <= _FLOAT32_MAX:
            raise InputError("weight: expected 0, a positive number that float32 holds, or null, found "
                             f"{_shown(self.weight)}")
        for name, scores in {"scores": self.scores or (), **self.score_columns}.items():
            if name != "scores" and len(scores) != length:
                raise InputError(f"{name}: expected one value per step ({length}), found {len(scores)}")
            for score in scores:
                if not -_FLOAT32_MAX <= score <= _FLOAT32_MAX:
                    raise InputError(f"{name}: expected finite numbers, found {_shown(score)}")
        if (self.successes is None) != (self.trials is None):
            raise InputError("successes and trials: expected both or neither, found one")
        for k, n in zip(self.successes or (), self.trials or (), strict=True):
            if not 0 <= k <= n:
                raise InputError(f"successes: expected 0 <= successes <= trials, found {_shown(k)} of {_shown(n)}")
            if n > _MOST_TRIALS:
                raise InputError(f"trials: expected at most {_MOST_TRIALS:,}, found {_shown(n)}")
        for step, rewards in enumerate(self.rewards or ()):
            for reward in rewards:
                if not 0.0 <= reward <= 1.0:
                    raise InputError(f"rewards: expected numbers in [0, 1], found {_shown(reward)} at step {step + 1}")
            if rewards and self.trials is not None and self.trials[step]:
                raise InputError(f"rewards: expected counts or rewards of a step, found both at step {step + 1}")

    @property
    def problem_key(self) -> str:
        """Equal for rows of one problem: its id, or the prompt where rows have none."""
        return self.problem_id or self.prompt

    @property
    def has_completions(self) -> bool:
        """Whether it was labelled from completions: it has counts or rewards."""
        return self.trials is not None or self.rewards is not None

    @property
    def times(self) -> float:
        """Its weight in training, 1 where none is given."""
        return 1.0 if self.weight is None else self.weight

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON or Parquet; fields that are None or empty are left out."""
        record: dict[str, Any] = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if value is None or (item.name == "extra" and not value):
                continue
            if item.name == "score_columns":
                record |= {name: list(scores) for name, scores in value.items()}
                continue
            plain = list(value) if isinstance(value, tuple) else value
            if item.name == "rewards":
                plain = [list(rewards) for rewards in value]
            record[item.name] = dict(value) if item.name == "extra" else plain
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> StepRow:
        """The inverse of `to_dict`; unknown fields are refused. Raises InputError."""
        columns = {name: values for name, values in record.items() if _is_score_column(name)}
        known = {item.name for item in dataclasses.fields(cls)} - {"score_columns"}
        unknown = set(record) - known - set(columns)
        if unknown:
            raise InputError(f"unknown field {sorted(unknown)[0]!r}; known are {', '.join(sorted(known))}")
        values = {name: value for name, value in record.items() if value is not None and name not in columns}
        for name in ("prompt", "steps"):
            if name not in values:
                raise InputError(f"{name}: expected {_TYPES[name][1]}, found {'null' if name in record else 'none'}")
        if isinstance(values.get("extra"), str):
            try:
                values["extra"] = json.loads(values["extra"])
            except (ValueError, RecursionError) as error:
                raise InputError(f"extra: expected an object as JSON text, found {values['extra'][:40]!r}") from error
        for name, value in values.items():
            kinds, words = _TYPES[name]
            if name in _LISTS:
                if not isinstance(value, (list, tuple)):
                    raise InputError(f"{name}: expected {words}, found {type(value).__name__}")
                values[name] = tuple(value)
            for part in value if name in _LISTS else (value,):
                if not isinstance(part, kinds) and not (part is None and name == "labels"):
                    raise InputError(f"{name}: expected {words}, found {type(part).__name__}")
        if "rewards" in values:
            for reward in itertools.chain.from_iterable(values["rewards"]):
                if not isinstance(reward, Real):
                    raise InputError(f"rewards: expected numbers, found {type(reward).__name__}")
            values["rewards"] = tuple(map(tuple, values["rewards"]))
        values["score_columns"] = {name: _score_column(name, given) for name, given in columns.items()
                                   if given is not None}
        scores = values.get("extra", {}).get("scores")
        if "scores" not in values and isinstance(scores, list) and len(scores) == len(values["steps"]) and all(
                isinstance(score, (int, float)) for score in scores):  # as earlier versions kept them
            values["scores"] = tuple(float(score) for score in scores)
            values["extra"] = {name: value for name, value in values["extra"].items() if name != "scores"}
        return cls(**values)


_ETA_SCORES, _INTERVAL = "scores_eta_", ("score_low", "score_high")
_MOST_TRIALS = 2**31 - 1
_FLOAT32_LEAST, _FLOAT32_MAX = 2.0**-126, 3.4028234663852886e38
_LISTS = ("steps", "labels", "successes", "trials", "scores", "gaps", "rewards")
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "prompt": ((str,), "text"), "steps": ((str,), "a list of texts"),
    "labels": ((int, float, Real), "a list of numbers or nulls"),
    "successes": ((int, Integral), "a list of whole numbers"), "trials": ((int, Integral), "a list of whole numbers"),
    "outcome": ((int, float, Real), "a number"),
    "finished": ((bool,), "true or false"), "problem_id": ((str,), "text"), "solution_id": ((str,), "text"),
    "answer": ((str,), "text or null"), "gold": ((str,), "text or null"),
    "scores": ((int, float, Real), "a list of numbers"), "extra": ((Mapping,), "an object"),
    "gaps": ((str,), "a list of texts"), "rewards": ((list, tuple), "a list of lists of numbers"),
    "weight": ((int, float, Real), "a number"),
}


def _is_score_column(name: str) -> bool:
    return name.startswith(_ETA_SCORES) or name in _INTERVAL


def _score_column(name: str, given: object) -> tuple[float, ...]:
    if not isinstance(given, (list, tuple)) or not all(isinstance(score, Real) for score in given):
        raise InputError(f"{name}: expected a list of numbers, found {str(given)[:40]}")
    return tuple(map(float, given))


def _shown(value: object) -> str:
    """A number for a message; one of thousands of digits is not printed."""
    return f"{value}" if not isinstance(value, int) or abs(value) < 10**30 else "a number of more than 30 digits"


def row_scores(row: StepRow) -> tuple[float, ...]:
    """The step scores of a row. Raises InputError when there are none."""
    if row.scores is None and (names := [name for name in row.score_columns if name.startswith(_ETA_SCORES)]):
        raise InputError(f"row {row.solution_id or row.prompt[:40]!r}: expected scores of one eta, found "
                         f"{', '.join(names)}; score the file with one (erprm score --eta)")
    if row.scores is None:
        raise InputError(f"row {row.solution_id or row.prompt[:40]!r}: expected scores, found none; score the file "
                         "first (erprm score)")
    return row.scores


def by_score_column(rows: Sequence[StepRow]) -> dict[str, list[StepRow]]:
    """Rows with several etas as rows of one each, by "eta=0.5", ...; those with one `scores`, or none, by "".

    Raises:
        InputError: naming the row that has other columns than the first.
    """
    names = [name for name in (rows[0].score_columns if rows else ()) if name.startswith(_ETA_SCORES)]
    for number, row in enumerate(rows, start=1):
        if names != [name for name in row.score_columns if name.startswith(_ETA_SCORES)]:
            raise InputError(f"row {number}: expected the score columns of the first row ({', '.join(names) or 'none'}"
                             f"), found {', '.join(row.score_columns) or 'none'}")
    if not names:
        return {"": list(rows)}
    return {"eta=" + name.removeprefix(_ETA_SCORES): [
        dataclasses.replace(row, scores=row.score_columns[name], score_columns={}) for row in rows] for name in names}


def read_rows(path: str | Path) -> Iterator[StepRow]:
    """Rows from anything that `read_records` reads, one at a time. Raises InputError naming file and line."""
    for number, record in read_records(path):
        try:
            yield StepRow.from_dict(record)
        except InputError as error:
            raise InputError(f"{path}:{number}: {error}") from error


def read_some(path: str | Path) -> list[StepRow]:
    """All rows, of which there has to be one. Raises InputError."""
    rows = list(read_rows(path))
    if not rows:
        raise InputError(f"{path}: expected at least one row, found none")
    return rows


def write_rows(path: str | Path, rows: Iterable[StepRow]) -> int:
    """Write rows to `.jsonl` or `.parquet`, whole or not at all; returns how many were written."""
    path = Path(path)
    with atomic_write(path) as temporary, temporary.open("wb") as out:
        return _write(out, rows, path.suffix)


def rows_as_bytes(rows: Iterable[StepRow], suffix: str) -> bytes:
    """The bytes of a file with this suffix that `write_rows` would write."""
    out = io.BytesIO()
    _write(out, rows, suffix)
    return out.getvalue()


def _write(out: BinaryIO, rows: Iterable[StepRow], suffix: str) -> int:
    if suffix == ".parquet":
        return _write_parquet(out, rows)
    count = 0
    for row in rows:
        count += 1
        out.write(_as_json(row.to_dict(), count) + b"\n")
    return count


def _as_json(value: Mapping[str, Any], number: int) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"row {number}: expected what JSON can hold, found that {error}") from error


def _write_parquet(out: BinaryIO, rows: Iterable[StepRow], batch: int = 4096) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = iter(rows)
    first = next(rows, None)
    columns = () if first is None else tuple(first.score_columns)
    schema = pa.schema([
        ("prompt", pa.string()), ("steps", pa.list_(pa.string())), ("labels", pa.list_(pa.float64())),
        ("successes", pa.list_(pa.int64())), ("trials", pa.list_(pa.int64())), ("outcome", pa.float64()),
        ("finished", pa.bool_()), ("problem_id", pa.string()), ("solution_id", pa.string()), ("answer", pa.string()),
        ("gold", pa.string()), ("scores", pa.list_(pa.float32())), ("extra", pa.string()),
        ("gaps", pa.list_(pa.string())), ("rewards", pa.list_(pa.list_(pa.float64()))),
        ("weight", pa.float64()),
        *((name, pa.list_(pa.float32())) for name in columns),
    ])
    count = 0
    pending: list[dict[str, Any]] = []
    with pq.ParquetWriter(out, schema, compression="zstd", write_page_checksum=True) as writer:
        for row in itertools.chain(() if first is None else (first,), rows):
            if tuple(row.score_columns) != columns:
                raise InputError(f"row {count + 1}: expected the score columns of the first row "
                                 f"({', '.join(columns) or 'none'}), found {', '.join(row.score_columns) or 'none'}")
            record = row.to_dict()
            if "extra" in record:
                record["extra"] = _as_json(record["extra"], count + 1).decode()
            pending.append(record)
            count += 1
            if len(pending) == batch:
                writer.write_table(pa.Table.from_pylist(pending, schema=schema))
                pending.clear()
        if pending:
            writer.write_table(pa.Table.from_pylist(pending, schema=schema))
    return count
