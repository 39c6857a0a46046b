"""Many small experiments in a table: task x policy seed x target x reward-model seed, a cell a file.

    erprm study --config recipes/study.yaml
    erprm study --config recipes/study.yaml --only 'countdown/policy-0/*'       # a part of the table first
    erprm study --smoke                                                         # the whole in miniature

A policy seed stands for a policy, its solutions, their labels and its held-out pool, made as in `erprm demo`; several
reward models are trained on the same labels with the same schedule, and watched on validation solutions. A target is
KIND, KIND@ETA or KIND@ETA:ESTIMATOR; "er" alone learns all --etas in one training. What it learns from may stand behind
it: soft+half and soft+quarter of the problems, soft+agreed (with the task's checker), outcome+outcomes (no completions,
as many more solutions as they cost in tokens). A cell that is there is not done again, so the table can grow and an
interrupted study goes on. OUT/cells holds the results, OUT/work what they were made of, which may be deleted.
OUT/summary.md has means with intervals over problems and over seeds, differences from the reference paired on problems
with Holm's correction, and the variance by source.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erprm.cli.config import option
from erprm.demo.settings import SMOKE, DemoSettings
from erprm.errors import InputError
from erprm.options import LARGEST_SEED
from erprm.problems.tasks import TASKS, task
from erprm.study.cells import Cell, Learnt

_DEMO = DemoSettings()


@dataclass(frozen=True)
class Config:
    """Options of `erprm study`."""

    out: str = option("runs/study", help="folder of the study", writes="folder")
    tasks: tuple[str, ...] = option(("countdown",), help=f"families of problems: {', '.join(TASKS)}")
    policy_seeds: tuple[int, ...] = option((0, 1, 2, 3, 4, 5), least=0, most=LARGEST_SEED - 10,
                                           help="seeds of policies, with their labels and pools")
    prm_seeds: tuple[int, ...] = option((0, 1), least=0, most=LARGEST_SEED,
                                        help="seeds of reward models on the same labels")
    targets: tuple[str, ...] = option(("outcome", "soft", "hard", "er", "er@2"), help="what reward models learn")
    etas: tuple[float, ...] = option((0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0), help="those of the target er in one run")
    reference: str = option("soft", help="the reward that the others are compared with")
    only: tuple[str, ...] = option((), help="patterns of cells to do now, such as 'countdown/policy-0/soft/*'")
    evaluations: int = option(40, help="evaluations of a training", least=1)
    patience: int = option(0, least=0, help="evaluations without a better step AUC that end a training, whose best "
                           "model is kept; 0: none do, and the last is kept")
    prm_steps: int = option(4000, help="optimiser steps of a training at most", least=1)
    teach_problems: int = option(_DEMO.teach_problems, help="problems that demonstrations are shown of", least=1)
    sft_steps: int = option(_DEMO.sft_steps, help="optimiser steps of a policy", least=1)
    label_problems: int = option(_DEMO.label_problems, help="problems whose solutions are labelled", least=1)
    solutions: int = option(_DEMO.solutions, help="solutions per labelled problem", least=1)
    completions: int = option(_DEMO.completions, help="completions per prefix, n", least=1)
    validation_completions: int = option(_DEMO.validation_completions, least=1,
                                         help="completions per prefix of the validation solutions")
    heldout_problems: int = option(_DEMO.heldout_problems, help="held-out problems", least=1)
    pool: int = option(_DEMO.pool, help="candidates per held-out problem", least=2)
    wide_problems: int = option(40, help="held-out problems, the first ones, with many more candidates", least=1)
    wide: int = option(1024, help="candidates of each of them: where reward models are over-optimised", least=2)
    smoke: bool = option(False, help="one policy, two targets and two reward models of each at toy size")
    dry_run: bool = option(False, help="print the cells, and which are there; do nothing")


def run(config: Config) -> None:
    """The cells that are missing, then the page."""
    from erprm.study.run import StudySettings
    from erprm.study.run import run as run_cells

    out = Path(config.out)
    names = {field.name for field in dataclasses.fields(DemoSettings)}
    sizes: dict[str, Any] = {name: value for name, value in dataclasses.asdict(config).items() if name in names}
    settings = StudySettings(
        config.tasks, config.policy_seeds, config.prm_seeds, config.targets, config.etas, config.wide_problems,
        config.wide, DemoSettings(**sizes))
    if config.smoke:
        settings = StudySettings(("countdown",), (0,), (0, 1), ("soft", "er"), (0.5, 2.0), 2, 8, SMOKE)
    for name in ("tasks", "policy_seeds", "prm_seeds", "targets", "etas"):
        values = getattr(settings, name)
        if not values or len(set(values)) < len(values):
            raise InputError(f"{name}: expected different values, at least one, found {' '.join(map(str, values))}")
    rewards = [name for text in settings.targets for name in Learnt.of(text).rewards(text, settings.etas)]
    if config.reference not in rewards:
        raise InputError(f"reference: expected one of {', '.join(rewards)}, found {config.reference!r}")
    for name in settings.tasks:
        task(name)
    if config.dry_run:
        for cell in settings.cells(config.only):
            print(f"{cell.name}: {'done' if cell.path(out / 'cells').is_file() else 'to do'}")
        return
    run_cells(out, settings, config.only, about={"commit": _commit()})
    print(f"report: {_page(out, config.reference, settings.cells())}")


def _page(out: Path, reference: str, asked: list[Cell]) -> Path:
    from erprm.study.analysis import summarise
    from erprm.study.cells import read_cells
    from erprm.study.page import write_page

    cells = read_cells(out / "cells")
    missing = {cell.name for cell in asked} - {result.cell.name for result in cells}
    if missing:
        print(f"{len(missing)} of {len(asked)} cells of the table are still to be done")
    return write_page(out, summarise(cells, reference))


def _commit() -> str:
    import subprocess

    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True,
                           check=False)
    return found.stdout.strip()
