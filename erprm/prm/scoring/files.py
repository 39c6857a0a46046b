"""Rows in a file to scores in a file: constant memory, order kept, resumable.

    score_file(scorer, "solutions.parquet", "scored.parquet", identity={"model": "runs/prm"})

Every scored row is the row that was read with its scores in `extra["scores"]` (`row_scores` takes them out again).
Parts of the result are written beside it and renamed, so an interrupted run loses at most one part; the same call goes
on behind the last part, and a call for something else than what the parts hold is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from erprm.errors import InputError
from erprm.files.progress import progress
from erprm.prm.scoring.scorer import WINDOW_ROWS, PRMScorer
from erprm.rows import StepRow, read_rows, write_rows

SUFFIXES = (".jsonl", ".parquet")


def score_file(scorer: PRMScorer, rows: str | Path, out: str | Path, *, identity: Mapping[str, Any],
               part_rows: int = WINDOW_ROWS) -> int:
    """Score every row of `rows` into `out` (.jsonl or .parquet).

    Args:
        identity: what makes two runs the same (model, dtype, limits); kept with the parts.
        part_rows: rows scored, and written, at a time.

    Returns:
        How many rows were scored now; the others were found in parts.

    Raises:
        InputError: naming file and row, or when the parts beside `out` belong to another run.
    """
    rows, out = Path(rows), Path(out)
    if out.suffix not in SUFFIXES:
        raise InputError(f"{out}: expected a name that ends in {' or '.join(SUFFIXES)}")
    total = count_rows(rows)
    folder = out.with_name(out.name + ".parts")
    done = _open_parts(folder, {**identity, "rows": _fingerprint(rows), "part_rows": part_rows})
    source = enumerate(islice(read_rows(rows), done * part_rows, None), start=done * part_rows + 1)
    scored = 0
    with progress("scoring", total, unit="rows") as bar:
        bar.advance(min(done * part_rows, total))
        while batch := list(islice(source, part_rows)):
            part = [row for _, row in batch]
            try:
                scores = scorer.score(part, advance=bar.advance)
            except InputError as error:
                raise InputError(f"{rows}: {_shifted(error, batch[0][0])}") from error
            write_rows(folder / f"part-{done:06d}{out.suffix}", (
                dataclasses.replace(row, extra={**row.extra, "scores": [float(score) for score in of_row]})
                for row, of_row in zip(part, scores, strict=True)))
            done, scored = done + 1, scored + len(part)
    write_rows(out, _parts(folder, done, out.suffix))
    shutil.rmtree(folder)
    return scored


def row_scores(row: StepRow) -> list[float]:
    """The step scores that `score_file` put into a row. Raises InputError when there are none."""
    scores = row.extra.get("scores")
    if not isinstance(scores, list):
        raise InputError(f"row {row.solution_id or row.prompt[:40]!r}: expected scores in 'extra', found none; "
                         "score the file first (erprm score)")
    return [float(score) for score in scores]


def count_rows(path: str | Path) -> int:
    """Rows of a .jsonl or .parquet file, without parsing them. Raises InputError."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return int(pyarrow.parquet.ParquetFile(path).metadata.num_rows)
    with path.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def _open_parts(folder: Path, identity: Mapping[str, Any]) -> int:
    """Make the parts folder, or check that it is of this run; how many parts are complete."""
    manifest = folder / "run.json"
    wanted = json.loads(json.dumps(identity, ensure_ascii=False))
    if manifest.is_file():
        found = json.loads(manifest.read_text(encoding="utf-8"))
        different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if different:
            name = different[0]
            raise InputError(f"{folder}: holds scores of another run: {name} was {found.get(name)!r}, is "
                             f"{wanted.get(name)!r}; delete the folder or write to another file")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        beside = manifest.with_suffix(".tmp")
        beside.write_text(json.dumps(wanted, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        beside.replace(manifest)
    done = 0
    while any((folder / f"part-{done:06d}{suffix}").is_file() for suffix in SUFFIXES):
        done += 1
    return done


def _parts(folder: Path, count: int, suffix: str) -> Iterator[StepRow]:
    for part in range(count):
        yield from read_rows(folder / f"part-{part:06d}{suffix}")


def _fingerprint(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shifted(error: InputError, first: int) -> str:
    """The message with "row N" counted from the beginning of the file."""
    head, colon, rest = str(error).partition(":")
    words = head.split(" ")
    if colon and words[0] == "row" and words[1].isdigit():
        words[1] = str(int(words[1]) + first - 1)
        return " ".join(words) + colon + rest
    return str(error)
