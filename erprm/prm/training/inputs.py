"""Rows from and for other trainers: TRL's stepwise-supervision form, files, and lists.

    rows = list(rows_of("rows.parquet"))                       # or StepRow items, or prompt/completions/labels
    dataset = as_trl_dataset(rows, TargetSpec(kind="soft"))    # a datasets.Dataset for TRL's trainers
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from erprm.errors import InputError, import_extra
from erprm.rows import StepRow, read_rows
from erprm.values.spec import TargetSpec

TRL_FIELDS = ("prompt", "completions", "labels")


def rows_of(source: Any) -> Iterator[StepRow]:
    """Rows from a `.jsonl` or `.parquet` file, an iterable of `StepRow`, or a dataset with TRL's three fields.

    Raises:
        InputError: for anything else, naming the row.
    """
    if isinstance(source, (str, Path)):
        yield from read_rows(source)
        return
    if not isinstance(source, Iterable):
        raise InputError(f"dataset: expected a file, rows or a dataset, found {type(source).__name__}")
    for number, item in enumerate(source, start=1):
        if isinstance(item, StepRow):
            yield item
        elif isinstance(item, Mapping) and "completions" in item:
            yield row_from_trl(item, number)
        elif isinstance(item, Mapping):
            yield StepRow.from_dict(item)
        else:
            raise InputError(f"dataset row {number}: expected a StepRow or a mapping with {', '.join(TRL_FIELDS)}, "
                             f"found {type(item).__name__}")


def row_from_trl(record: Mapping[str, Any], number: int = 1) -> StepRow:
    """One record with `prompt`, `completions` (steps) and `labels` (bools or floats, one per step)."""
    missing = [name for name in TRL_FIELDS if name not in record]
    if missing:
        raise InputError(f"dataset row {number}: expected {', '.join(TRL_FIELDS)}, found no {missing[0]}")
    steps, labels = record["completions"], record["labels"]
    if len(steps) != len(labels):
        raise InputError(f"dataset row {number}: expected one label per completion ({len(steps)}), found {len(labels)}")
    return StepRow(prompt=record["prompt"], steps=tuple(steps), labels=tuple(
        None if label is None else float(label) for label in labels))


def as_trl_dataset(rows: Iterable[StepRow], target: TargetSpec | None = None) -> Any:
    """A `datasets.Dataset` with TRL's `prompt`, `completions` and float `labels`.

    A step without a target ends its row there, since that format has no missing labels.
    """
    datasets = import_extra("datasets", "trl")
    rows = list(rows)
    target = (target or TargetSpec()).fitted_to_rows(rows)
    records: dict[str, list[Any]] = {name: [] for name in TRL_FIELDS}
    for row in rows:
        values = target.of_row(row)
        missing = np.flatnonzero(np.isnan(values))
        length = int(missing[0]) if len(missing) else len(values)
        if length:
            records["prompt"].append(row.prompt)
            records["completions"].append(list(row.steps[:length]))
            records["labels"].append(values[:length].tolist())
    return datasets.Dataset.from_dict(records)
