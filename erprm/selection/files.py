"""A search over a problem set, part by part: what an interrupted run has finished is not searched again.

    rows = search_in_parts(problems, search, "out.parquet.parts", settings, part_problems=64)

The parts lie beside the result, each written beside itself and renamed, with the settings of the run; a run with other
settings is refused. The parts are removed by `remove_parts` when the result is there.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from erprm.files.storage import open_storage
from erprm.problems import Problem
from erprm.rollouts.run import rows_as_parquet
from erprm.rollouts.store import RolloutStore
from erprm.rows import StepRow, read_rows


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
    storage = open_storage(folder)
    rows: list[StepRow] = []
    with RolloutStore.open(folder, settings | {"part_problems": str(part_problems)}) as store:
        for number, start in enumerate(range(0, len(problems), part_problems), start=1):
            part, name = problems[start: start + part_problems], f"rows/{number:06d}.parquet"
            data = storage.read(name)
            if data is None:
                written = search(part)
                store.write(name, rows_as_parquet(written))
                rows += written
                continue
            if found is not None:
                found(len(part))
            rows += _rows(data)
    return rows


def remove_parts(folder: str | Path) -> None:
    """Remove the parts, once their rows are in the result."""
    shutil.rmtree(folder)


def _rows(data: bytes) -> list[StepRow]:
    with tempfile.TemporaryDirectory(prefix="erprm-") as folder:
        path = Path(folder) / "rows.parquet"
        path.write_bytes(data)
        return list(read_rows(path))
