"""Rows from and for other trainers: TRL's stepwise-supervision form, files, and lists.

    rows = list(rows_of("rows.parquet"))                       # or StepRow items, or prompt/completions/labels
    dataset = as_trl_dataset(rows, TargetSpec(kind="soft"))    # a datasets.Dataset for TRL's trainers
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from erprm.errors import InputError, import_extra
from erprm.files.records import read_records
from erprm.rows import StepRow
from erprm.values.spec import TargetSpec

TRL_FIELDS = {"prompt": "text", "completions": "a list of texts", "labels": "a list of numbers or nulls"}


def rows_of(source: Any) -> Iterator[StepRow]:
    """Rows from a file, an iterable of `StepRow`, or a dataset; records are erprm's own or have TRL's three fields.

    Raises:
        InputError: for anything else, naming the row, or the file and line.
    """
    if isinstance(source, (str, Path)):
        for number, record in read_records(source):
            yield _row(record, f"{source}:{number}")
        return
    if not isinstance(source, Iterable):
        raise InputError(f"dataset: expected a file, rows or a dataset, found {type(source).__name__}")
    for number, item in enumerate(source, start=1):
        yield item if isinstance(item, StepRow) else _row(item, f"dataset row {number}")


def _row(record: Any, where: str) -> StepRow:
    if not isinstance(record, Mapping):
        raise InputError(f"{where}: expected a StepRow or a mapping with {', '.join(TRL_FIELDS)}, found "
                         f"{type(record).__name__}")
    try:
        return row_from_trl(record) if "completions" in record else StepRow.from_dict(record)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def row_from_trl(record: Mapping[str, Any]) -> StepRow:
    """One record with `prompt`, `completions` (steps) and `labels` (bools or floats, one per step; null for none).

    Raises:
        InputError: naming the field, what was expected and what was found.
    """
    for name, expected in TRL_FIELDS.items():
        if record.get(name) is None:
            raise InputError(f"{name}: expected {expected}, found {'null' if name in record else 'no such field'}")
    prompt, steps, labels = (_plain(record[name]) for name in TRL_FIELDS)
    if isinstance(prompt, list):
        raise InputError(f"prompt: expected text, found a chat of {len(prompt)} turns; render it with the tokenizer's "
                         "chat template first")
    try:
        row = StepRow.from_dict({"prompt": prompt, "steps": steps, "labels": labels})
    except InputError as error:
        raise InputError(re.sub("^steps:", "completions:", str(error))) from error
    return replace(row, labels=tuple(None if label is None else float(label) for label in row.labels or ()))


def _plain(values: Any) -> Any:
    """A list for the array that a dataset with another format gives."""
    return values.tolist() if isinstance(values, np.ndarray) else values


def as_trl_dataset(rows: Iterable[StepRow], target: TargetSpec | None = None) -> Any:
    """A `datasets.Dataset` with TRL's `prompt`, `completions` and float `labels`.

    A step without a target ends its row there, since that format has no missing labels. Raises InputError for several
    etas, since it has one label a step.
    """
    datasets = import_extra("datasets", "trl")
    rows = list(rows)
    target = (target or TargetSpec()).fitted_to_rows(rows)
    if len(target.etas) > 1:
        raise InputError(f"eta: expected one number, for one label a step, found {len(target.etas)}")
    records: dict[str, list[Any]] = {name: [] for name in TRL_FIELDS}
    for row in rows:
        values = target.of_row(row)
        missing = np.flatnonzero(np.isnan(values))
        length = int(missing[0]) if len(missing) else len(values)
        if row.times != 1.0:
            raise InputError(f"weight: expected rows of weight 1, as TRL's form has none, found {row.times:g}")
        if length:
            records["prompt"].append(row.prompt)
            records["completions"].append(list(row.steps[:length]))
            records["labels"].append(values[:length].tolist())
    return datasets.Dataset.from_dict(records)
