"""The loop over the study's cells, each done once: the demo's stages up to the labels, then one training a cell.

    run(Path("runs/study"), StudySettings(policy_seeds=(0, 1)))      # cells/, and work/ with what may be deleted
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erprm.demo.commands import command
from erprm.demo.recipe import Lab
from erprm.demo.settings import DemoSettings
from erprm.demo.stages import Stages
from erprm.errors import InputError
from erprm.files.json_files import read_json
from erprm.files.writing import locked, remove_folder
from erprm.rows import StepRow, by_score_column, read_rows
from erprm.study.cells import Cell, Learnt, Result, read_cell, write_cell
from erprm.study.label_sets import training_rows
from erprm.study.measures import measured


@dataclass(frozen=True)
class StudySettings:
    """The table and the sizes of its cells; `demo` are those of policy, labels and pools."""

    tasks: tuple[str, ...] = ("countdown",)
    policy_seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    prm_seeds: tuple[int, ...] = (0, 1)
    targets: tuple[str, ...] = ("outcome", "soft", "hard", "er", "er@2")
    etas: tuple[float, ...] = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0)
    wide_problems: int = 40  # held-out problems, the first ones, with
    wide: int = 1024  # candidates each
    demo: DemoSettings = field(default_factory=lambda: DemoSettings(prm_steps=4000, evaluations=40, patience=0))

    def cells(self, only: tuple[str, ...] = ()) -> list[Cell]:
        """All of them, or those whose name matches one of the patterns, policy after policy.

        Raises:
            InputError: where none does.
        """
        cells = [Cell(task, policy, target, prm) for task in self.tasks for policy in self.policy_seeds
                 for target in self.targets for prm in self.prm_seeds]
        found = [cell for cell in cells if not only or any(fnmatch.fnmatch(cell.name, each) for each in only)]
        if not found:
            raise InputError(f"only: expected a pattern that matches a cell such as {cells[0].name}, found "
                             f"{' '.join(only)}")
        return found

    def of_cell(self, cell: Cell) -> dict[str, Any]:
        """What a cell's result depends on besides its place in the table."""
        sizes = dataclasses.asdict(dataclasses.replace(self.demo, task=cell.task, seed=cell.policy_seed))
        found: dict[str, Any] = json.loads(json.dumps({  # as it comes back from a file
            **Learnt.of(cell.target).options(self.etas), "wide_problems": self.wide_problems, "wide": self.wide,
            **{name: sizes[name] for name in sizes if name not in _OF_THE_DEMO_ALONE}}))
        return found


_OF_THE_POLICY = ("task", "seed", "teach_problems", "demonstrations", "wandering", "hidden", "layers", "sft_steps",
                  "label_problems", "solutions", "completions", "contrast", "heldout_problems", "pool",
                  "validation_problems", "validation_completions", "validation_pool")  # its labels and pools, too
_OF_THE_DEMO_ALONE = ("etas", "truth_problems", "truth_completions", "raft_samples", "raft_steps", "main", "task",
                      "seed")


def run(folder: Path, settings: StudySettings, only: tuple[str, ...] = (), about: Mapping[str, Any] | None = None,
        ) -> list[Path]:
    """Do the cells that are missing; returns the files of all that were asked for.

    Raises:
        InputError: for a cell that is there with other settings, naming what differs.
    """
    cells = settings.cells(only)
    missing = [cell for cell in cells if not _is_done(cell, folder / "cells", settings)]
    for number, cell in enumerate(missing, start=1):
        print(f"cell {number} of {len(missing)} to do, {len(cells)} in all: {cell.name}", file=sys.stderr)
        base = folder / "work" / cell.task / f"policy-{cell.policy_seed}"
        with locked(base):
            lab = Lab(base, dataclasses.replace(settings.demo, task=cell.task, seed=cell.policy_seed))
            stages = Stages(base, {name: getattr(lab.settings, name) for name in _OF_THE_POLICY})
            for name, parts in lab.foundation():
                stages.run(name, parts)
            if not _is_done(cell, folder / "cells", settings):  # by a process that held the lock before
                _do(cell, lab, settings, folder / "cells", about or {})
    return [cell.path(folder / "cells") for cell in cells]


def _is_done(cell: Cell, folder: Path, settings: StudySettings) -> bool:
    path = cell.path(folder)
    if not path.is_file():
        return False
    _, before = read_cell(path)
    now = settings.of_cell(cell)
    differing = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if differing:
        name = differing[0]
        raise InputError(f"{path}: done with {name} = {before.get(name)!r}, asked for {now.get(name)!r}; give another "
                         "--out, or remove the cell")
    return True


def _do(cell: Cell, lab: Lab, settings: StudySettings, folder: Path, about: Mapping[str, Any]) -> None:
    work = lab.folder / "cells" / cell.target.replace(":", "-") / f"prm-{cell.prm_seed}"
    model, learnt = work / "model", Learnt.of(cell.target)
    pools = {"validation": lab.folder / "validation.parquet", "pool": lab.folder / "pool.parquet",
             "wide": _wide_pool(lab, settings)}
    rows, tokens = training_rows(lab, learnt.labels)
    started = time.monotonic()
    lab.trained(model, rows, cell.prm_seed, **learnt.options(settings.etas))()
    seconds = time.monotonic() - started
    scored = {name: _scored(path, model, work / f"{name}.parquet", cell.target) for name, path in pools.items()}
    remedy = f"remove {work}: the cell is done again"
    history = read_json(model / "history.json", remedy, list)
    curve = [(entry["step"], entry["eval_step_auc"]) for entry in history if "eval_step_auc" in entry]
    metrics = read_json(model / "metrics.json", remedy)
    training = {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float))}
    training |= {"seconds": round(seconds, 1), "steps": float(max(entry["step"] for entry in history)),
                 "label_tokens": float(tokens)}
    columns, pool = measured(scored, learnt)
    write_cell(cell.path(folder), Result(cell, columns, curve, training, pool),
               {**about, "settings": settings.of_cell(cell)})
    remove_folder(work)


def _wide_pool(lab: Lab, settings: StudySettings) -> Path:
    path = lab.folder / f"wide-{settings.wide_problems}x{settings.wide}.parquet"
    if not path.is_file():
        command("sample", problems=lab.problems("heldout"), policy=lab.model("policy"), limit=settings.wide_problems,
                n=settings.wide, seed=lab.settings.seed + 7, max_tokens=lab.task.max_tokens, out=path)()
    return path


def _scored(rows: Path, model: Path, out: Path, target: str) -> dict[str, list[StepRow]]:
    """The pool with the model's scores, by reward."""
    command("score", model=model, rows=rows, out=out)()
    found = by_score_column(list(read_rows(out)))
    return {reward_name(target, name.removeprefix("eta=")): rows for name, rows in found.items()}


def reward_name(target: str, eta: str) -> str:
    """What a reward is called: as its target, with "/ETA" where one training gave several."""
    return f"{target}/{eta}" if eta else target
