"""A search over a problem set, part by part: what an interrupted run has finished is not searched again.

    with locked("out.parquet"):
        rows = search_in_parts(problems, search, "out.parquet.parts", settings, part_problems=64)
        write_rows("out.parquet", rows)
        remove_folder("out.parquet.parts")

The parts lie beside the result (`erprm.files.parts`); a run with other settings is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from erprm.files.parts import Parts
from erprm.problems import Problem
from erprm.rows import StepRow, read_rows, rows_as_bytes

_SUFFIX = ".parquet"


def search_in_parts(problems: Sequence[Problem], search: Callable[[Sequence[Problem]], list[StepRow]],
                    folder: str | Path, settings: dict[str, str], part_problems: int,
                    found: Callable[[int], object] | None = None) -> list[StepRow]:
    """The rows of every problem, in order; `search` is asked for the problems of the parts that are missing.

    Args:
        search: problems to rows, in order, any number of rows for each.
        folder: of the parts, local.
        settings: everything on which the rows depend; `part_problems` is added.
        found: called with the number of problems of each part that was there already.

    Raises:
        InputError: when the folder is of a run with other settings, or another process writes to it.
    """
    rows: list[StepRow] = []
    with Parts.open(folder, settings | {"part_problems": str(part_problems)}, _SUFFIX) as parts:
        for number, start in enumerate(range(0, len(problems), part_problems), start=1):
            part = problems[start: start + part_problems]
            if parts.read(number) is None:
                written = search(part)
                parts.write(number, rows_as_bytes(written, _SUFFIX))
                rows += written
                continue
            if found is not None:
                found(len(part))
            rows += read_rows(Path(folder) / "parts" / parts.name(number))
    return rows
