"""Rows in a file to scores in a file: constant memory, order kept, resumable.

    score_file(scorer, "solutions.parquet", "scored.parquet", identity={"model": "runs/prm"})

Every scored row is the row that was read with its `scores`, or the other columns that the checkpoint gives. Parts of
the result lie beside it (`erprm.files.parts`): an interrupted run loses at most one, and the same call does only those
that are missing or damaged.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from erprm.errors import InputError
from erprm.files.parts import Parts
from erprm.files.progress import progress
from erprm.files.records import count_records
from erprm.files.runs import digest_of
from erprm.files.writing import locked, remove_folder
from erprm.prm.checkpoints.forms import SCORES
from erprm.prm.scoring.scorer import WINDOW_ROWS, Scorer, Scores
from erprm.rows import StepRow, read_rows, rows_as_bytes, write_rows

SUFFIXES = (".jsonl", ".parquet")


def score_file(scorer: Scorer, rows: str | Path, out: str | Path, *, identity: Mapping[str, Any],
               part_rows: int = WINDOW_ROWS) -> int:
    """Score every row of `rows` into `out` (.jsonl or .parquet).

    Args:
        identity: what makes two runs the same (model, dtype, limits); kept with the parts.
        part_rows: rows scored, and written, at a time.

    Returns:
        How many rows were scored now; the others were found in parts.

    Raises:
        InputError: naming file and row; for no rows; when the parts beside `out` are of another run, or another process
            writes to `out`.
    """
    out = Path(out)
    if out.suffix not in SUFFIXES:
        raise InputError(f"{out}: expected a name that ends in {' or '.join(SUFFIXES)}")
    total = count_records(rows)
    if not total:
        raise InputError(f"{rows}: expected at least one row, found none")
    folder, scored = out.with_name(out.name + ".parts"), 0
    settings = {**identity, "rows": digest_of(rows), "part_rows": part_rows}
    with locked(out), Parts.open(folder, settings, out.suffix) as parts, progress("scoring", total, "rows") as bar:
        source, first = read_rows(rows), 0
        for number in range(1, -(-total // part_rows) + 1):
            part = list(islice(source, part_rows))
            if parts.read(number) is None:
                try:
                    scores = scorer.score(part, advance=bar.advance, first=first)
                except InputError as error:
                    raise InputError(f"{rows}: {error}") from error
                parts.write(number, rows_as_bytes((
                    _scored(row, scorer.checkpoint.columns, of_row)
                    for row, of_row in zip(part, scores, strict=True)), out.suffix))
                scored += len(part)
            else:
                bar.advance(len(part))
            first += len(part)
        if parts.quarantined:
            print(f"{folder}: {len(parts.quarantined)} damaged parts were scored again", file=sys.stderr)
        write_rows(out, (row for number in range(1, -(-total // part_rows) + 1)
                         for row in read_rows(folder / "parts" / parts.name(number))))
        remove_folder(folder)
    return scored


def _scored(row: StepRow, columns: tuple[str, ...], scores: Scores) -> StepRow:
    """The row with its scores [L], or [L, C] by the names of the columns; earlier ones are replaced."""
    found = dict(zip(columns, scores.reshape(len(scores), -1).T.tolist(), strict=True))
    main = found.pop(SCORES, None)
    return dataclasses.replace(row, scores=None if main is None else tuple(main),
                               score_columns={name: tuple(values) for name, values in found.items()})
