"""Read one public data format, write another.

  erprm convert --from math-shepherd --to trl --input shepherd.jsonl --out trl.jsonl
  erprm convert --from prm800k --neutral bad --to erprm --input phase2.jsonl --out rows.parquet
  erprm convert --from erprm --target er --eta 2 --to er-prm --input labelled/rows.parquet --out train.jsonl

The input may be a file (.jsonl, .json, .parquet, .gz, .zst), a folder of such shards, a folder that `save_to_disk`
wrote, or datasets:OWNER/NAME?name=SUBSET&split=train. Files stream: a million rows take no more memory than one. Rows
without a problem_id get one that follows from their prompt. Records that cannot be read, and rows that the target
format cannot hold, are left out and counted, with the reasons, at the end; with --strict the first one is an error that
names file and line. Where none is left, the command fails and writes nothing. Formats:
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from erprm.cli.config import option
from erprm.errors import InputError
from erprm.files.progress import Bar, progress
from erprm.files.records import count_records
from erprm.files.writing import locked
from erprm.formats import FORMATS, Options, Reader, read, write
from erprm.rows import StepRow

for _item in FORMATS.values():
    __doc__ += f"\n  {_item.name:17} {_item.help}" + (f"\n{'':20}" if _item.options else "") + " ".join(
        f"--{name.replace('_', '-')}" for name in _item.options)


@dataclass(frozen=True)
class Config(Options):
    """Options of `erprm convert`."""

    input: str = option(help="what to read: .jsonl, .json or .parquet, a folder of them, datasets:NAME")
    out: str = option(help="file to write: .jsonl; .parquet too for the format erprm", aliases=("output",),
                      writes="file")
    from_: str = option(help="format of the input", choices=tuple(FORMATS))
    to: str = option(help="format of the output", choices=tuple(FORMATS))
    strict: bool = option(False, help="stop at the first record that cannot be used")


def run(config: Config) -> int | None:
    """Convert the file; print what was dropped and where the result is."""
    reader = read(config.input, config.from_, strict=config.strict, options=config)
    with locked(config.out), progress("converting", total=count_records(config.input), unit="records") as bar:
        written = write(config.out, config.to, _rows(reader, bar), strict=config.strict, options=config)
    print(f"read {reader.report}", file=sys.stderr)
    print(f"wrote {written}", file=sys.stderr)
    print(config.out)
    return None


def _rows(reader: Reader, bar: Bar) -> Iterator[StepRow]:
    """The reader's rows with ids, by which solutions of one problem are told from others; the bar follows the records.

    Raises:
        InputError: when there is none, so that nothing is written.
    """
    for row in reader:
        if reader.report.records != bar.done:
            bar.advance(reader.report.records - bar.done)
        yield row if row.problem_id else replace(row, problem_id=_id_of(row.prompt))
    bar.advance(reader.report.records - bar.done)
    if not reader.report.rows:
        raise InputError(f"{reader.path}: expected at least one row, found {reader.report}")


def _id_of(prompt: str) -> str:
    return hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
